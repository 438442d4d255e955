"""Attention precision, recall and F1 for region features with phrase boxes, as published, on a generated folder.

`xmodal evaluate` has no phrase boxes to read; this is the whole way by hand: a trained SCAN, `host.attention`, regions
that overlap a phrase's boxes by IoU, and the measures.
"""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipelines.dataset import Dataset
from pipelines.experiments.fit import fit
from pipelines.gallery import Split
from pipelines.pair_scores import Tokens, tokens
from pipelines.prepare.flow import prepare
from pipelines.prepare.workers import InProcess
from pipelines.train.caption_words import CaptionWords
from pipelines.train.plan import TrainingPlan, build_model, sample_reader
from tests.pipelines.precomp_folder import REGIONS, THINGS, write_precomp
from tests.pipelines.test_recipes_hosts import SIZES, small
from xmodal.matchers import Matcher
from xmodal.metrics.attention import Tally, image_tally, word_attention
from xmodal.metrics.attention_boxes import regions_in
from xmodal.model import CrossModalModel
from xmodal.words import runs, word_id

THIRDS = np.arange(REGIONS) % 3
"""What a region of the folder shows: the first thing, the second, how they stand."""
BOXES = np.array([[n / REGIONS, 0.0, (n + 1) / REGIONS, 1.0] for n in range(REGIONS)])
"""Corner boxes of the regions: strips, so that none overlaps another."""


def phrase_boxes(place: int) -> np.ndarray:
    """Hand-drawn boxes of the thing that the regions of a third show: not quite theirs (IoU 0.8), and one too small to
    count (IoU 0.4)."""
    drawn, small = BOXES[place == THIRDS].copy(), BOXES[:1].copy()
    drawn[:, 3] = 0.8
    small[:, 3] = 0.4
    return np.concatenate([drawn, small])


class World:
    def __init__(self, folder: Path) -> None:
        write_precomp(folder / "archive", SIZES)
        self.recipe = small(folder, "scan-f30k", train={"epochs": 60})
        data, model = self.recipe.data, self.recipe.model
        self.dataset: Dataset = prepare(data, self.recipe.compute.store(), model.image, model.text, workers=InProcess())
        self.rows = Split.of(self.dataset, sample_reader(self.recipe, self.dataset), ("test",))
        self.records = self.rows.told(["captions", "facts"], "test")

    def read(self, model: CrossModalModel) -> Tokens:
        return tokens(model, self.rows, "cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("regions"))


def measured(world: World, model: CrossModalModel) -> tuple[Tally, list[dict[str, float]]]:
    """Of every test image: each word for a thing of its captions beside the boxes of that thing."""
    read, host, first = world.read(model.eval()), cast(Matcher, model.host), 0
    words: CaptionWords = world.rows.reader.words  # pyright: ignore[reportAssignmentType]
    total, found = Tally(), []
    for image, record in enumerate(world.records):
        texts = [one["text"] for one in json.loads(record["captions"])]
        (said,) = words.of([record], [texts])
        weights, relevant = [], []
        for number, (text, packed) in enumerate(zip(texts, said, strict=True), start=first):
            with torch.no_grad():
                looked = host.attention(read.image[[image]], read.text[[number]], read.mask[[number]])[0]
            ids = np.frombuffer(packed, np.int64).tolist()
            things = [word for word in text.split() if word in THINGS]
            for place, thing in enumerate(things):
                spans = runs(ids, word_id(thing))
                own, _ = word_attention(looked.double().numpy()[None], [spans[things[:place].count(thing)]], cls=False)
                weights.append(own)
                boxes = [phrase_boxes(one) for one, name in enumerate(things) if name == thing]
                relevant.append(regions_in(BOXES, np.concatenate(boxes)))
        first += len(texts)
        tally, means = image_tally(np.concatenate(weights), np.array(relevant), np.ones(REGIONS, bool), len(BOXES))
        total, found = total + tally, [*found, means]
    return total, found


def test_regions_of_a_phrase_are_those_its_boxes_overlap_by_half() -> None:
    for place in range(3):
        own = np.equal(THIRDS, place)
        assert regions_in(BOXES, phrase_boxes(place)).tolist() == own.tolist()
        assert regions_in(BOXES, phrase_boxes(place), 0.3).tolist() == (own | (np.arange(6) == 0)).tolist()
        assert not regions_in(BOXES, phrase_boxes(place), 0.85).any()


def test_a_trained_host_looks_at_the_regions_that_its_words_name(world: World) -> None:
    torch.manual_seed(world.recipe.train.seed)
    untrained, _ = measured(world, build_model(world.recipe, world.dataset))
    plan = TrainingPlan.of(world.recipe, world.dataset)
    total, found = measured(world, cast(Any, fit(world.recipe, plan, "cpu")))
    assert total.images == len(world.records) == SIZES["test"] and total.queries == 10 * total.images
    assert (total.unknown, total.no_box, total.no_word, total.skipped) == (0, 0, 0, 0)
    means, before = total.means(), untrained.means()
    assert 1 / 3 <= means["chance"] < 0.45  # two things of one name are four regions
    for name in ("precision", "recall", "f1", "mass", "ap"):
        assert means[name] == pytest.approx(np.mean([one[name] for one in found]))
    assert means["f1"] > before["f1"] + 0.1 and means["ap"] > before["ap"] + 0.05
    assert means["mass"] > means["chance"] + 0.15
