"""Attention measures against loops over words and keys, every edge case, and detector boxes through crop and flip."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xmodal.metrics import attention, attention_boxes
from xmodal.metrics.attention import MEASURES, Tally, cut, image_tally, word_scores
from xmodal.transforms import PixelSettings, boxes_after

ALL = np.ones(6, dtype=bool)


def slow(weights: list[float], relevant: list[bool], mode: str, t: float) -> dict[str, float]:
    m = len(weights)
    limit = {"absolute": t, "uniform": t / m, "max": t * max(weights)}[mode]
    attended = {j for j in range(m) if weights[j] >= limit - 1e-12}
    right = {j for j in range(m) if relevant[j]}
    precision = len(attended & right) / len(attended) if attended else 0.0
    recall = len(attended & right) / len(right)
    curve, seen = 0.0, 0
    for value in sorted(set(weights), reverse=True):
        above = {j for j in range(m) if weights[j] >= value}
        curve += (len(above & right) - seen) / len(right) * len(above & right) / len(above)
        seen = len(above & right)
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "mass": sum(weights[j] for j in right) / sum(weights),
        "chance": len(right) / m,
        "ap": curve,
        "empty": float(not attended),
    }


@given(
    arrays(np.float64, (3, 6), elements=st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4])),
    arrays(bool, (3, 6)),
    st.sampled_from(["absolute", "uniform", "max"]),
    st.sampled_from([0.15, 0.5, 1.0, 2.0, 8.0]),
)
@settings(deadline=None)
def test_measures_are_their_loops(weights, relevant, mode, t):
    found = word_scores(weights, relevant, ALL, cut(mode, t))
    padded = word_scores(np.hstack([weights, np.full((3, 2), 7.0)]), np.hstack([relevant, np.ones((3, 2), bool)]),
                         np.append(ALL, [False, False]), cut(mode, t))  # fmt: skip
    assert tuple(found) == MEASURES
    for row in range(3):
        if weights[row].sum() == 0 or not relevant[row].any():
            assert all(np.isnan(found[name][row]) for name in MEASURES)
            continue
        wanted = slow(weights[row].tolist(), relevant[row].tolist(), mode, t)
        assert {name: found[name][row] for name in MEASURES} == pytest.approx(wanted, abs=1e-12)
        assert {name: padded[name][row] for name in MEASURES} == pytest.approx(wanted, abs=1e-12)


@given(arrays(np.float64, (1, 8), elements=st.floats(0.01, 1)), arrays(bool, (8,)))
@settings(deadline=None)
def test_higher_cuts_attend_to_less(weights, relevant):
    relevant[0] = True
    recalls = [
        word_scores(weights, relevant[None], np.ones(8, bool), cut("uniform", t))["recall"][0] for t in attention.SWEEP
    ]
    assert all(one >= two for one, two in itertools.pairwise(recalls))


def tally(weights, relevant, boxes: int | None = 1, at: attention.Cut = attention.ABOVE_UNIFORM):
    rows = np.array(weights, float)
    return image_tally(rows, np.array(relevant, bool), np.ones(rows.shape[-1], bool), boxes, at)


def test_what_cannot_be_judged_is_counted_and_not_scored():
    one = [[0.5, 0.5]]
    assert tally(one, [[True, False]], boxes=None)[0] == Tally(unknown=1)
    assert tally(one, [[True, False]], boxes=0)[0] == Tally(no_box=1)
    assert tally(np.zeros((0, 2)), np.zeros((0, 2)))[0] == Tally(no_word=1)
    assert tally([[0.0, 0.0]], [[True, False]])[0] == Tally(skipped=1)
    assert tally(one, [[False, False]])[0] == Tally(skipped=1)
    assert all(math.isnan(value) for value in tally(one, [[True, False]], boxes=0)[1].values())
    assert math.isnan(Tally(no_box=3).means()["f1"])


def test_an_empty_attended_set_is_scored_zero_and_counted():
    found, means = tally([[0.5, 0.5]], [[True, False]], at=cut("absolute", 0.9))
    assert (found.images, found.sums["empty"]) == (1, 1)
    assert (means["precision"], means["recall"], means["f1"]) == (0, 0, 0)


def test_a_close_up_a_single_key_and_repeated_words():
    assert tally([[0.7, 0.3]], [[True, True]])[1]["precision"] == 1
    assert tally([[0.7, 0.3]], [[True, True]])[1]["chance"] == 1
    assert tally([[1.0]], [[True]])[1] == dict.fromkeys(MEASURES, 1.0) | {"empty": 0.0}
    twice, means = tally([[0.9, 0.1], [0.1, 0.9]], [[True, False]] * 2)
    assert (twice.images, twice.queries, means["precision"]) == (1, 2, 0.5)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(broken):
    with pytest.raises(ValueError, match="not finite"):
        tally([[broken, 0.5]], [[True, False]])


def test_means_are_over_images_and_tallies_add_up():
    generator = np.random.default_rng(0)
    images = []
    for words in (1, 5, 2, 3):
        images.append(tally(generator.dirichlet(np.ones(6), words), generator.random((words, 6)) < 0.5))
    images += [(Tally(unknown=1), {}), (Tally(no_box=1), {})]
    whole = sum((one for one, _ in images), Tally())
    parts = [sum((one for one, _ in images[start::3]), Tally()) for start in range(3)]
    merged = parts[2] + parts[0] + parts[1]
    assert (merged.images, merged.unknown, merged.no_box, merged.queries) == (4, 1, 1, whole.queries)
    for name, value in whole.means().items():
        assert merged.means()[name] == pytest.approx(value, abs=1e-12)
    assert whole.means()["f1"] == pytest.approx(np.mean([means["f1"] for _, means in images[:4]]))
    p, r = (whole.means()[name] for name in ("precision", "recall"))
    assert whole.means()["f1_of_means"] == pytest.approx(2 * p * r / (p + r))


def test_words_are_means_over_heads_and_tokens_without_the_class_token():
    weights = np.array([[[0.2, 0.6, 0.2], [0.5, 0.25, 0.25]], [[0.4, 0.4, 0.2], [0.5, 0.0, 0.5]]])
    found, share = attention.word_attention(weights, [[0], [0, 1], [1, 2]], cls=True)
    mean = weights.mean(0)
    rows = mean[:, 1:] / mean[:, 1:].sum(1, keepdims=True)
    assert np.allclose(found, [rows[0], rows.mean(0)]) and share == pytest.approx([0.3, 0.4])
    plain, none = attention.word_attention(weights, [[1]], cls=False)
    assert np.allclose(plain, mean[1:]) and none.tolist() == [0]
    assert attention.word_attention(weights, [[5]], cls=True)[0].shape == (0, 2)


def test_entropy_of_a_blank_image():
    rows = np.array([[0.25] * 4, [1.0, 0, 0, 0], [0.0] * 4])
    found = attention.normalised_entropy(rows, np.ones(4, bool))
    assert found[:2] == pytest.approx([1, 0]) and np.isnan(found[2])


def test_patches_in_a_box_and_the_one_of_a_tiny_animal():
    half = attention_boxes.corners([[0.0, 0.0, 0.5, 1.0]])
    assert attention_boxes.patches_in(half, 2, 4).tolist() == [True, True, False, False] * 2
    tiny = attention_boxes.corners([[0.55, 0.05, 0.02, 0.02]])
    assert attention_boxes.patches_in(tiny, 4, 4).nonzero()[0].tolist() == [2]
    two = attention_boxes.corners([[0.0, 0.0, 0.1, 0.25], [0.0, 0.0, 0.1, 0.25], [0.5, 0.5, 0.5, 0.5]])
    assert attention_boxes.patches_in(two, 4, 4).nonzero()[0].tolist() == [0, 10, 11, 14, 15]
    assert not attention_boxes.patches_in(np.zeros((0, 4)), 2, 2).any()


def test_regions_by_their_overlap():
    regions = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1], [0.4, 0, 1, 1]], float)
    boxes = np.array([[0, 0, 0.5, 1]], float)
    assert attention_boxes.regions_in(regions, boxes).tolist() == [True, True, False]
    assert attention_boxes.regions_in(regions, boxes, 0.7).tolist() == [False, True, False]


def test_detector_boxes_through_the_crop_and_a_flip():
    """1600 x 1200 squeezed by its shorter side and cut to the middle square: an animal at the left edge is cut away."""
    settings = PixelSettings(size=224, resize="crop")
    found, kept = boxes_after(settings, np.array([[0.0, 0.4, 0.1, 0.2], [0.5, 0.5, 0.25, 0.25]]), 1600, 1200)
    assert kept.tolist() == [False, True]
    scale, shift = 4 / 3, 1 / 6
    assert found[0] == pytest.approx([0.5 * scale - shift, 0.5, 0.25 * scale, 0.25], abs=1e-6)
    weights = np.random.default_rng(0).dirichlet(np.ones(16), 2)
    relevant = attention_boxes.patches_in(attention_boxes.corners(found), 4, 4)
    turned = attention_boxes.patches_in(attention_boxes.corners(attention_boxes.mirrored(found)), 4, 4)
    flipped = weights.reshape(2, 4, 4)[:, :, ::-1].reshape(2, 16)
    one, two = tally(weights, [relevant] * 2)[1], tally(flipped, [turned] * 2)[1]
    assert one == pytest.approx(two)


def test_baselines_that_read_no_text():
    keys = attention_boxes.grid(5, 5)
    middle = attention_boxes.centre_gaussian(keys)
    assert middle.sum() == pytest.approx(1) and middle.argmax() == 12 and middle[0] == pytest.approx(middle[24])
    assert attention_boxes.feature_norm([[3.0, 4.0], [0.0, 5.0], [0.0, 0.0]]).tolist() == [0.5, 0.5, 0.0]
