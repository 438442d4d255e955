"""A retraining that dies at any moment leaves a champion, the old one or the new one; the next one ends what it began,
and the one after that does nothing."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest

from infra.registry import CHAMPION
from pipelines.gc import free
from tests.chaos.retraining import DATASET, Retraining, Stage, died


@pytest.mark.chaos
@pytest.mark.services
@pytest.mark.timeout(600)
def test_a_kill_in_retraining(stage: Stage, retraining: Retraining, tmp_path: Path) -> None:
    survives(stage, retraining, tmp_path)


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.timeout(300)
def test_one_that_died_between_decision_and_alias(retraining: Retraining, tmp_path: Path) -> None:
    survives(Stage("promotion", "after"), retraining, tmp_path)


def survives(stage: Stage, retraining: Retraining, marks: Path) -> None:
    team = retraining.fresh()
    assert team.retrain(stage, marks) == -signal.SIGKILL and died(marks), team.victims.log.read_text()[-3000:]
    assert team.registry.champion() in (1, 2)
    for _ in range(2):
        assert team.retrain() == 0, team.victims.log.read_text()[-3000:]
        assert team.registry.champion() == 2 and team.registry.version(2).aliases == (CHAMPION,)
    decisions = [entry.key for entry in team.root.list("promotions")]
    assert len(decisions) == 1
    before = team.stored()
    assert team.retrain() == 0 and team.stored() == before
    free(team.root, DATASET, timedelta(0))
    assert list(team.root.leftovers()) == [], "what was torn is gone with the next gc"
