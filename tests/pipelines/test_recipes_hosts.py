"""The recipes of cross-attention hosts on a generated folder of the published layout: trained, and beside papers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.experiments.fit import fit
from pipelines.prepare.flow import prepare
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe, load_recipe
from pipelines.train.plan import build_model, sample_reader
from pipelines.train.validate import Validation
from tests.pipelines.precomp_folder import REGIONS, WIDTH, write_precomp
from tests.pipelines.road import untrained_run, xmodal
from xmodal.settings import merge, parse

SIZES = {"train": 40, "dev": 10, "test": 12}
HOSTS = ("scan-f30k", "bfan-f30k", "pfan-f30k", "sgraf-f30k")


def small(folder: Path, *names: str, **changes: Any) -> Recipe:
    """What makes shipped recipes one of a tiny folder; parts, tasks and published figures stay."""
    whole = load_recipe(list(names)).model_dump(mode="json")
    (survey,) = whole["data"]["surveys"]
    survey |= {"archive": str(folder / "archive")}
    survey["source"] |= {"regions": [REGIONS, WIDTH], "images": {"train": 40, "test": 12}}
    model = {"embed_dim": 8, "image": {"regions": REGIONS, "width": WIDTH}, "matcher": {"width": 16}}
    model |= {"text": {"word_dim": 8, "width": 16}}
    train = {"epochs": 12, "global_batch": 8, "lanes": 2, "optimizer": {"learning_rate": 1e-2}}
    smaller = {"data": whole["data"], "model": model, "train": train, "compute": {"root": str(folder / "root")}}
    return parse(Recipe, merge(merge(whole, smaller), changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("hosts")
    write_precomp(found / "archive", SIZES, boxes=True)
    return found


@pytest.mark.parametrize("names", [*((name,) for name in HOSTS), ("scan-f30k", "ccr-ccs")], ids=" ".join)
def test_a_host_learns_and_is_judged_by_its_scores(folder: Path, names: tuple[str, ...]) -> None:
    recipe = small(folder, *names)
    dataset = prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    judge = Validation(dataset, sample_reader(recipe, dataset), 100, by_host=True)
    torch.manual_seed(recipe.train.seed)
    before = judge.measure(build_model(recipe, dataset), "cpu")
    after = judge.measure(fit(recipe, dataset, "cpu", lambda seen: None), "cpu")
    assert after["val/score"] == after["val/host/rsum"] > before["val/score"] + 25


@pytest.mark.parametrize("name", HOSTS)
def test_ours_stands_beside_what_is_published(folder: Path, name: str) -> None:
    recipe = small(folder, name)
    prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    run = untrained_run(recipe, f"{name}-0000-0").name
    words = ["evaluate", run, "--root", recipe.compute.root, "--report", folder / f"{name}.html"]
    ended = xmodal(*words, "--ensemble", run)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("published result"))
    asked = sum(len(one.figures) for one in recipe.evaluation.published)
    rows = lines[head + 1 : head + 1 + asked]
    assert asked > 0 and all("not measured" not in row for row in rows)
    assert all(row.endswith("all test images, two models averaged*") for row in rows if "*  " in row)
    found = {line.split()[0]: line.split()[1] for line in lines[:head] if line.startswith("test/")}
    assert found["test/ensemble/host/rsum"] == found["test/host/rsum"]  # a model averaged with itself


@pytest.mark.parametrize("name", HOSTS)
def test_the_recipes_say_what_the_releases_do(name: str) -> None:
    recipe = load_recipe([name])
    model, triplet, host = recipe.model, recipe.model.tasks.triplet, recipe.model.matcher
    assert triplet is not None and host is not None and host.kind == name.partition("-")[0]
    assert (triplet.margin, triplet.mining, triplet.fn_policy) == (0.2, "hardest", "none")
    assert model.tasks.present.keys() == {"triplet"} and model.queue.size == 0
    assert (host.width, host.project_text, host.reduction) == (1024, False, "sum")  # pyright: ignore
    assert recipe.train.optimizer.learning_rate == 2e-4 and recipe.train.global_batch == 128
    assert host.kind != "pfan" or (host.positions and host.faithful)
    fall = {"scan-f30k": (0.49, 0.51), "pfan-f30k": (0.49, 0.51), "sgraf-f30k": (0.74, 0.76), "bfan-f30k": (2, 2)}[name]
    rates = [recipe.train.optimizer.decayed(min(1.0, at)) for at in fall]
    assert rates == ([1, 1] if name == "bfan-f30k" else [1, 0.1])
    assert all(one.scored_by == "host" and one.source for one in recipe.evaluation.published)
