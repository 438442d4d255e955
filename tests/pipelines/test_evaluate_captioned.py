"""Protocols of captioned sets: folds, an ensemble, and published figures beside ours, against plain counting."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.evaluate.captioned import file_order, protocols
from pipelines.evaluate.flow import examined
from pipelines.evaluate.subject import Subject
from pipelines.recipe import Recipe
from tests.pipelines.precomp_folder import write_precomp
from tests.pipelines.road import untrained_run, xmodal
from tests.pipelines.test_precomp_road import made
from xmodal.settings import SettingsError, parse

SIZES = {"train": 20, "dev": 6, "test": 23}
FOLD = 10
BESIDE = [
    {"name": "One", "source": "a page", "figures": {"i2t/r1": 50.0, "rsum": 300.0}},
    {"name": "Two*", "source": "a page", "figures": {"t2i/r5": 40.0}, "protocol": "folds", "ensemble": True},
    {"name": "Three", "source": "not published in a form we could read"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two untrained models of one dataset, and one of another."""
    folder = tmp_path_factory.mktemp("captioned")
    write_precomp(folder / "archive", SIZES)
    evaluation = {"fold_images": FOLD, "published": BESIDE}
    recipe, dataset = made(folder / "archive", folder / "root", evaluation=evaluation)
    other = parse(Recipe, recipe.model_dump(mode="json") | {"train": recipe.train.model_dump() | {"seed": 1}})
    torch.manual_seed(0)
    runs = [untrained_run(recipe, "one-0000-0").name]
    torch.manual_seed(1)
    runs.append(untrained_run(other, "two-0000-0").name)
    return {"folder": folder, "root": str(folder / "root"), "runs": runs, "recipe": recipe, "dataset": dataset}


@pytest.fixture(scope="module")
def figures(world: dict[str, Any]) -> dict[str, Any]:
    one, two = world["runs"]
    report = world["folder"] / "report.html"
    ended = xmodal("evaluate", one, "--root", world["root"], "--ensemble", two, "--json", "--report", report)
    assert ended.code == 0, ended.err
    page = report.read_text()
    assert "Beside One" in page and "ensemble*" in page and "mean over 2 folds of 10 images" in page
    return {one["name"]: one for one in json.loads(ended.out)}


def subject(world: dict[str, Any], number: int) -> Subject:
    recipe = world["recipe"]
    return examined(recipe.compute.store(), world["runs"][number], ())[0]


def recalls(scores: np.ndarray, owner: np.ndarray, k: int) -> tuple[float, float]:
    """Percent of images with a caption of theirs among the first k, and of captions with their image, by sorting."""
    i2t = [owner[np.argsort(-row, kind="stable")[:k]] for row in scores]
    t2i = [np.argsort(-column, kind="stable")[:k] for column in scores.T]
    right = [image in answers for image, answers in enumerate(i2t)]
    mine = [owner[text] in answers for text, answers in enumerate(t2i)]
    return 100 * sum(right) / len(right), 100 * sum(mine) / len(mine)


def scores_of(one: Subject) -> np.ndarray:
    return (one.gallery.images.double() @ one.gallery.texts.double().T).numpy()


def test_an_ensemble_averages_score_matrices(world: dict[str, Any], figures: dict[str, Any]) -> None:
    one, two = subject(world, 0), subject(world, 1)
    owner = one.gallery.owner.numpy()
    whole = (scores_of(one) + scores_of(two)) / 2
    for k in (1, 5, 10):
        i2t, t2i = recalls(whole, owner, k)
        assert figures[f"test/ensemble/i2t/r{k}"]["value"] == pytest.approx(i2t)
        assert figures[f"test/ensemble/t2i/r{k}"]["value"] == pytest.approx(t2i)
    alone = recalls(scores_of(one), owner, 5)
    assert figures["test/i2t/r5"]["value"] == pytest.approx(alone[0]) != pytest.approx(recalls(whole, owner, 5)[0])


def test_folds_are_cut_in_the_order_of_the_file(world: dict[str, Any], figures: dict[str, Any]) -> None:
    one = subject(world, 0)
    order, owner, scores = file_order(one), one.gallery.owner.numpy(), scores_of(one)
    lines = (world["folder"] / "archive" / "test_caps.txt").read_text().splitlines()
    assert [one.embedded.captions[image][0]["text"] for image in order] == lines[::5]
    parts = []
    for fold in (order[:FOLD], order[FOLD : 2 * FOLD]):
        texts = [text for text in range(len(owner)) if owner[text] in fold]
        place = {image: number for number, image in enumerate(fold.tolist())}
        parts.append(recalls(scores[fold][:, texts], np.array([place[owner[text]] for text in texts]), 1))
    i2t, t2i = np.mean(parts, axis=0)
    assert figures["test/folds/i2t/r1"]["value"] == pytest.approx(i2t)
    assert figures["test/folds/t2i/r1"]["value"] == pytest.approx(t2i)
    assert figures["test/folds/t2i/r1"]["n"] == 5 * 2 * FOLD
    assert figures["test/folds/t2i/r1"]["chance"] == pytest.approx(10)
    assert "test/folds/i2t/median_rank" not in figures


def test_published_figures_stand_beside_ours(world: dict[str, Any], figures: dict[str, Any]) -> None:
    difference = figures["test/published/0/i2t/r1"]
    assert difference["value"] == pytest.approx(figures["test/i2t/r1"]["value"] - 50) and difference["unit"] == "points"
    ended = xmodal("evaluate", world["runs"][0], "--root", world["root"], "--report", world["folder"] / "alone.html")
    lines = ended.out.splitlines()
    head = next(line for line in lines if line.startswith("published result"))
    assert head.split() == ["published", "result", "figure", "ours", "published", "difference", "protocol"]
    row = next(line for line in lines if line.startswith("One  "))
    assert row.split()[1:5] == [
        "i2t/r1",
        f"{figures['test/i2t/r1']['value']:.1f}",
        "50.0",
        f"{difference['value']:+.1f}",
    ]
    assert row.endswith("all test images, one model")
    starred = next(line for line in lines if line.startswith("Two*"))
    assert "not measured" in starred and starred.endswith("mean over folds of 10, two models averaged*")
    assert "Three: not published in a form we could read" in lines


def test_models_of_two_dataset_versions_make_no_ensemble(world: dict[str, Any]) -> None:
    one = subject(world, 0)
    write_precomp(world["folder"] / "more", {**SIZES, "train": 21})
    recipe, _ = made(world["folder"] / "more", world["folder"] / "root2")
    root = recipe.compute.store()
    two = examined(root, untrained_run(recipe, "other-0000-0").name, ())[0]
    with pytest.raises(DataRefused, match="both models must be of one dataset version"):
        protocols(one, world["recipe"].evaluation, two)


def test_protocols_change_no_fingerprint(world: dict[str, Any]) -> None:
    recipe: Recipe = world["recipe"]
    plain = parse(Recipe, recipe.model_dump(mode="json", exclude_defaults=True) | {"evaluation": {}})
    assert plain.fingerprint("d") == recipe.fingerprint("d") and isinstance(world["dataset"], Dataset)


def test_an_unknown_figure_is_one_line() -> None:
    wrong = {"published": [{"name": "x", "source": "y", "figures": {"i2t/r2": 1.0}}]}
    with pytest.raises(SettingsError, match=r"evaluation\.published\.0\.figures: figures: 'i2t/r2' is none of rsum"):
        parse(Recipe, {"data": {"name": "d", "surveys": []}, "model": {}, "evaluation": wrong})
