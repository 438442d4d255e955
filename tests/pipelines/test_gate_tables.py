"""The gate's errors on stored answers of trained models: the pairs that were trained, and pairs drawn from them."""

import numpy as np
import pytest

from tests.pipelines.gate_pairs import GAINS, PAIRS, decided, drawn, promoted
from tests.pipelines.score_table import stored


@pytest.mark.slow
def test_of_drawn_pairs_the_worse_and_the_equal_stay_out_and_the_better_get_in() -> None:
    """Three points worse at most 1 %, equal at most 5 %, eight points better at least 95 %; two points are between."""
    rates = {name: promoted(gain, 60) / PAIRS for name, gain in GAINS.items()}
    assert rates["worse"] <= 0.01 and rates["equal"] <= 0.05 and rates["clearly"] >= 0.95, rates
    assert rates["equal"] < rates["slightly"] < rates["clearly"], rates


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


def test_a_drawn_pair_is_as_far_apart_as_it_says() -> None:
    """Over many draws, and not in each: places are dealt by chance."""
    for gain in GAINS.values():
        pairs = [drawn(seed, gain, 30) for seed in range(60)]
        leads = [challenger.right.mean() - champion.right.mean() for champion, challenger in pairs]
        assert np.mean(leads) == pytest.approx(gain, abs=3 * np.std(leads) / len(leads) ** 0.5)
        assert np.std(leads) > 0.005
