"""Validation: a model is judged by what it is trained to score with, the same at any number of workers."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from pipelines.dataset import Dataset
from pipelines.gallery import Gallery, Split, embed, gallery
from pipelines.pair_scores import tokens
from pipelines.recipe import Recipe
from pipelines.train.plan import build_model, sample_reader
from pipelines.train.validate import Validation
from tests.pipelines.precomp_folder import write_precomp
from tests.pipelines.road import prepared
from tests.pipelines.test_precomp_road import made
from tests.xmodal.world import World
from xmodal.matchers import Matcher
from xmodal.metrics.intervals import mean
from xmodal.metrics.retrieval import precisions, ranks, rsum
from xmodal.model import CrossModalModel
from xmodal.settings import parse

SCAN: dict[str, Any] = {
    "matcher": {"kind": "scan", "width": 12},
    "tasks": {"uto": None, "itc": None, "itm": None, "lm": None, "triplet": {}},
}
PLAIN: dict[str, Any] = {
    "image_enhance": [],
    "head": {"kind": "linear"},
    "text_head": None,
    "pooling": {"kind": "mean"},
}
VAL = 7


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The recipe of a triplet-only model over a prepared folder of regions."""
    folder = tmp_path_factory.mktemp("validate")
    write_precomp(folder / "archive", {"train": 12, "dev": VAL, "test": 4})
    recipe, _ = made(folder / "archive", folder / "root", model=PLAIN | SCAN, train={"words": None})
    return recipe.model_dump(mode="json")


def built(recipe: Recipe) -> tuple[Dataset, CrossModalModel]:
    dataset = Dataset.open(recipe.compute.store(), recipe.data.name)
    torch.manual_seed(5)
    return dataset, build_model(recipe, dataset)


def measured(document: dict[str, Any], by_host: bool) -> dict[str, float]:
    recipe = parse(Recipe, document)
    dataset, model = built(recipe)
    return Validation(dataset, sample_reader(recipe, dataset), 100, by_host).measure(model, "cpu")


def one_by_one(recipe: Recipe) -> tuple[Gallery, Tensor]:
    """The val gallery, and the host's (N, M) scores, each pair by itself."""
    dataset, model = built(recipe)
    model.eval()
    split = Split.of(dataset, sample_reader(recipe, dataset), ("val",))
    found = gallery(embed(model, split, "cpu"), split.reader.attributes)
    read, host = tokens(model, split, "cpu"), cast(Matcher, model.host)
    scores = torch.zeros(len(found.images), len(found.texts))
    for image in range(len(found.images)):
        for n, text in enumerate(found.written.tolist()):
            words = host.text_side(read.text[text : text + 1], read.mask[text : text + 1])
            scores[image, n] = host.score_all_pairs(host.image_side(read.image[image : image + 1]), words)[0, 0]
    return found, scores.detach()


def test_a_matcher_is_judged_by_its_own_scores(captioned: dict[str, Any]) -> None:
    found, scores = one_by_one(parse(Recipe, captioned))
    i2t = ranks(lambda rows: scores[rows], found.relevant_texts(), VAL)
    t2i = ranks(lambda rows: scores.T[rows], found.relevant_images(), len(found.texts))
    told = measured(captioned, by_host=True)
    assert told["val/score"] == told["val/host/rsum"] == pytest.approx(rsum(i2t, t2i))
    assert told["val/host/t2i/r1"] == pytest.approx(100 * mean(t2i.recall(1)))
    beside = measured(captioned, by_host=False)
    assert beside["val/score"] == beside["val/rsum"] != told["val/score"]
    assert beside.keys() == {name for name in told if "/host/" not in name}


def test_a_survey_is_judged_by_entailment(tmp_path: Path) -> None:
    recipe = prepared(str(tmp_path), model=SCAN)
    found, scores = one_by_one(recipe)
    assert not found.captioned and len(found.texts) > 1
    i2t = precisions(lambda rows: scores[rows], found.relevant_texts(), len(found.images))
    t2i = precisions(lambda rows: scores.T[rows], found.relevant_images(), len(found.texts))
    told = measured(recipe.model_dump(mode="json"), by_host=True)
    assert told["val/score"] == told["val/host/map"]
    assert told["val/score"] == pytest.approx(50 * (mean(i2t.map_at_r) + mean(t2i.map_at_r)), abs=1e-3)


def test_workers_change_nothing(captioned: dict[str, Any], world: World) -> None:
    """Two with 4 and 3 images, three with 3, 2 and 2: in another order, with texts of other lengths."""
    alone = measured(captioned, by_host=True)
    for size in (2, 3):
        told = world.run(size, measured, captioned, True)
        assert all(one == told[0] for one in told)
        assert told[0] == pytest.approx(alone)


def only_one(document: dict[str, Any]) -> dict[str, float]:
    recipe = parse(Recipe, document)
    dataset, model = built(recipe)
    return Validation(dataset, sample_reader(recipe, dataset), 1, True).measure(model, "cpu")


def test_a_worker_without_an_image_waits_for_the_others(captioned: dict[str, Any], world: World) -> None:
    told = world.run(2, only_one, captioned)
    assert told[0] == told[1] == only_one(captioned)
