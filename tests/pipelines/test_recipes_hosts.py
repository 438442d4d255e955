"""The recipes of cross-attention hosts on a generated folder of the published layout: trained, and beside papers."""

import json
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipelines.evaluate.flow import examined
from pipelines.evaluate.subject import Subject
from pipelines.experiments.fit import fit
from pipelines.pair_scores import tokens
from pipelines.prepare.flow import prepare
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe, load_recipe
from pipelines.train.plan import TrainingPlan, build_model, sample_reader
from pipelines.train.validate import Validation
from tests.pipelines.precomp_folder import REGIONS, WIDTH, write_precomp
from tests.pipelines.road import untrained_run, xmodal
from xmodal.matchers import Matcher
from xmodal.metrics.retrieval import ranks
from xmodal.settings import merge, parse

SIZES = {"train": 40, "dev": 10, "test": 12}
HOSTS = ("scan-f30k", "bfan-f30k", "pfan-f30k", "sgraf-f30k")


def learner(name: str) -> Any:
    """The largest of them takes its time."""
    return pytest.param((name,), marks=[pytest.mark.slow] if name == "sgraf-f30k" else [], id=name)


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
    write_precomp(found / "archive", SIZES, boxes=True, empty=True)
    return found


LONGER = {"sgraf-f30k": {"epochs": 30, "optimizer": {"learning_rate": 1e-3}}}
"""At the others' rate its rsum of ten images rises in one run and falls in the next, by a bit of rounding."""


@pytest.mark.parametrize("names", [*map(learner, HOSTS), pytest.param(("scan-f30k", "ccr-ccs"), id="ccr-ccs")])
def test_a_host_learns_and_is_judged_by_its_scores(folder: Path, names: tuple[str, ...]) -> None:
    recipe = small(folder, *names, train=LONGER.get(names[0], {}))
    dataset = prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    judge = Validation(dataset, sample_reader(recipe, dataset), 100, by_host=True)
    torch.manual_seed(recipe.train.seed)
    before = judge.measure(build_model(recipe, dataset), "cpu")
    after = judge.measure(fit(recipe, TrainingPlan.of(recipe, dataset), "cpu"), "cpu")
    assert after["val/score"] == after["val/host/rsum"] > before["val/score"] + 25


@pytest.mark.parametrize("name", HOSTS)
def test_ours_stands_beside_what_is_published(folder: Path, name: str) -> None:
    recipe = small(folder, name)
    prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    other = small(folder, name, train={"seed": 1}, model=SECOND.get(name, {}))
    runs = []
    for number, one in enumerate((recipe, other)):
        torch.manual_seed(number)
        runs.append(untrained_run(one, f"{name}-000{number}-0").name)
    words = ["evaluate", runs[0], "--root", recipe.compute.root, "--report", folder / f"{name}.html"]
    ended = xmodal(*words, "--ensemble", runs[1])
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("published result"))
    asked = sum(len(one.figures) for one in recipe.evaluation.published)
    rows = lines[head + 1 : head + 1 + asked]
    assert asked > 0 and all("not measured" not in row for row in rows)
    assert all(row.endswith("all test images, two models averaged*") for row in rows if "*  " in row)
    found = {line.split()[0]: line.split()[1] for line in lines[:head] if line.startswith("test/")}
    page = (folder / f"{name}.html").read_text()
    verdict = re.search(r'class="verdict">Sum of the six recalls \(rsum\) by cross attention: ([\d.]+)', page)
    assert verdict and verdict[1] == found["test/host/rsum"], "not of embeddings, which are untrained"
    assert name == "pfan-f30k" or found["test/host/rsum"] != found["test/rsum"], "only PFAN's are equal here, by chance"
    subjects = [examined(recipe.compute.store(), run, ())[0] for run in runs]
    first, second = (host_scores(one) for one in subjects)
    for key, scores in (("host", first), ("ensemble/host", (first + second) / 2)):
        assert float(found[f"test/{key}/rsum"]) == pytest.approx(sum_of_recalls(subjects[0], scores), abs=0.06)
    assert np.abs(first - second).max() > 1e-3


def test_search_asks_the_host_where_vectors_were_never_trained(folder: Path) -> None:
    recipe = small(folder, "scan-f30k")
    prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    torch.manual_seed(0)
    run = untrained_run(recipe, "scan-f30k-0009-0").name
    subject = examined(recipe.compute.store(), run, ())[0]
    assert not subject.model.network.trains_vectors
    text = subject.gallery.captions[0]
    words = ("search", text, "--checkpoint", run, "--root", recipe.compute.root or "", "--split", "test", "-k", "5")
    found = [json.loads(line) for line in xmodal(*words, "--json").out.splitlines()]
    best = np.sort(host_scores(subject)[:, 0])[::-1][:5]
    assert [line["score"] for line in found] == pytest.approx(best.tolist(), abs=1e-5)


SECOND = {"sgraf-f30k": {"matcher": {"module": "saf"}}}
"""What the second model of a published ensemble has of its own, beside its draw."""


def host_scores(subject: Subject) -> np.ndarray:
    """(images, texts), pair by pair."""
    network = subject.model.network
    own, host = tokens(network, subject.rows, subject.model.device), cast(Matcher, network.host)
    texts = [(own.text[n : n + 1], own.mask[n : n + 1]) for n in range(len(own.text))]
    with torch.no_grad():
        pairs = [
            [host.score_all_pairs(host.image_side(image[None]), host.text_side(*text)).item() for text in texts]
            for image in own.image
        ]
    return np.array(pairs)


def sum_of_recalls(one: Subject, scores: np.ndarray) -> float:
    """Six recalls in percent; equal captions of a generated folder tie, which ranks are expectations over."""
    found, matrix = one.gallery, torch.from_numpy(scores)
    i2t = ranks(lambda rows: matrix[rows], found.relevant_texts(), len(found.images))
    t2i = ranks(lambda rows: matrix.T[rows], found.relevant_images(), len(found.texts))
    return sum(100 * float(np.mean(direction.recall(k))) for direction in (i2t, t2i) for k in (1, 5, 10))


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
