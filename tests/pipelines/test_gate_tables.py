"""The gate on stored answers of trained models (`python -m tests.pipelines.score_table`): one pair of each kind."""

import pytest

from pipelines.evaluate.gate import Answers, Decision, GateSettings, decide
from tests.pipelines.score_table import stored


def decided(champion: Answers, challenger: Answers) -> Decision:
    return decide(champion, challenger, frozenset(champion.place), frozenset(champion.species), GateSettings())


@pytest.mark.parametrize(
    ("old", "new", "lead", "promote"),
    [
        ("champion", "worse", -0.064, False),
        ("champion", "equal", -0.009, False),
        ("champion", "slightly", 0.008, False),
        ("worse", "clearly", 0.088, True),
    ],
)
def test_a_trained_pair_of_each_kind(old: str, new: str, lead: float, promote: bool) -> None:
    champion, challenger = stored(old), stored(new)
    assert challenger.right.mean() - champion.right.mean() == pytest.approx(lead, abs=0.001)
    assert decided(champion, challenger).promote is promote
