"""A run that resumes ten times is one that never stopped: in one process here, with real kills in test_train_resume."""

import random
from pathlib import Path

import torch

from pipelines.dataset import Dataset
from pipelines.train.plan import TrainingPlan
from tests.pipelines.road import prepared, stepped

STEPS = 20
MODEL = {"head": {"dropout": 0.1}}
"""What draws from the process's generator."""


def test_ten_resumptions_change_no_bit(tmp_path: Path) -> None:
    recipe = prepared(str(tmp_path / "root"), model=MODEL, train={"epochs": 10})
    plan = TrainingPlan.of(recipe, Dataset.open(recipe.compute.store(), recipe.data.name))
    stops = sorted(random.Random(0).sample(range(1, STEPS), 10))
    model, descent, losses = stepped(recipe, plan, STEPS)
    again, its, losses_again = stepped(recipe, plan, STEPS, stops)
    assert losses == losses_again
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys() and [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    moments, others = (one.optimizer.state_dict()["state"] for one in (descent, its))
    assert moments.keys() == others.keys() and len(moments) > 0
    for number, kept in moments.items():
        assert all(torch.equal(kept[name], others[number][name]) for name in kept)
