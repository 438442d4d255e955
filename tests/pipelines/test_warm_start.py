"""A warm start from a checkpoint folder: its weights, an empty queue, and no other words."""

from pathlib import Path

import pytest
import torch

from infra.storage import open_store
from pipelines.recipe import load_recipe
from pipelines.train.plan import warm_start
from tests.xmodal import tiny
from tests.xmodal.test_checkpoint import DROPOUT, Run
from xmodal.checkpoint import Damaged
from xmodal.model import CrossModalModel
from xmodal.wordpiece import WordPiece


def test_words_are_compared_before_weights_are_loaded(tmp_path: Path) -> None:
    run = Run().train(2)
    recipe = load_recipe(["demo", f"train.init_from={run.save(tmp_path / 'checkpoint')}"])
    root = open_store(f"{tmp_path}/root")
    warm = tiny.model(seed=5, **DROPOUT)
    warm_start(warm, recipe, root)
    assert len(run.model.queue) > 0 and len(warm.queue) == 0
    weights = zip(warm.query.parameters(), run.model.query.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)
    swapped = WordPiece([*tiny.wordpiece().tokens[:-2], "w24", "w23"])
    other = CrossModalModel(tiny.settings(**DROPOUT), swapped, tiny.ATTRIBUTES)
    before = [one.clone() for one in other.parameters()]
    with pytest.raises(Damaged, match=r"wordpiece\.json"):
        warm_start(other, recipe, root)
    assert all(torch.equal(one, now) for one, now in zip(before, other.parameters(), strict=True))
