"""Species accuracy and the baselines that need no image."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, precision_score, recall_score

from xmodal.metrics import baselines, classification
from xmodal.metrics.intervals import mean

LINEAGES = {
    "red fox": {"species": "Vulpes vulpes", "genus": "Vulpes", "family": "Canidae"},
    "swift fox": {"species": "Vulpes velox", "genus": "Vulpes", "family": "Canidae"},
    "lynx": {"species": "Lynx lynx", "genus": "Lynx", "family": "Felidae"},
    "canid": {"family": "Canidae"},
}


def test_micro_macro_and_rows_equal_scikit_learn():
    generator = np.random.default_rng(0)
    classes = ["a", "b", "c", "d"]
    truth, guess = (list(generator.choice(classes, 200, p=p)) for p in ([0.6, 0.3, 0.1, 0], [0.4, 0.3, 0.2, 0.1]))
    right = classification.hits(truth, guess)
    assert mean(right) == pytest.approx(np.mean(np.array(truth) == np.array(guess)))
    counts = classification.confusion(truth, guess, classes)
    assert np.array_equal(counts, confusion_matrix(truth, guess, labels=classes))
    present = [label for label in classes if label in truth]
    assert mean(right, truth) == pytest.approx(recall_score(truth, guess, labels=present, average="macro"))
    places = [str(n) for n in generator.integers(0, 12, 200)]
    rows = classification.per_class(truth, guess, classes, places)
    precisions = [precision_score(truth, guess, labels=[label], average="macro") for label in classes]
    assert [row.precision for row in rows] == pytest.approx(precisions)
    sums = zip(counts.sum(1), counts.sum(0), np.diag(counts), strict=True)
    assert [(row.n, row.predicted, row.right) for row in rows] == list(sums)
    assert rows[3].recall is None and rows[3].recall_interval is None
    two = [("a", "a"), ("b", "a")]
    assert mean(classification.hits(*zip(*two, strict=True)), ["a", "b"]) == balanced_accuracy_score(
        ["a", "b"], ["a", "a"]
    )


def test_intervals_of_a_class_resample_places():
    """Three places of forty alike images each: three answers, however many images."""
    truth, places = ["a"] * 120, [place for place in "xyz" for _ in range(40)]
    guess = ["a" if place == "x" else "b" for place in places]
    own, other = classification.per_class(truth, guess, ["a", "b"], places)
    means = np.random.default_rng(5).choice([1.0, 0.0, 0.0], (20000, 3)).mean(1)
    assert own.recall == pytest.approx(1 / 3)
    assert own.recall_interval == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)
    assert own.precision == 1 and own.precision_interval is None, "one place"
    assert (other.recall, other.precision, other.precision_interval) == (None, 0, (0, 0))


def test_a_wrong_species_may_be_the_right_genus_and_a_family_record_asks_no_species():
    truth, guess = ["red fox", "lynx", "canid"], ["swift fox", "red fox", "red fox"]
    assert classification.rank_hits(truth, guess, LINEAGES, "species")[:2].tolist() == [0, 0]
    assert np.isnan(classification.rank_hits(truth, guess, LINEAGES, "species")[2])
    assert classification.rank_hits(truth, guess, LINEAGES, "genus")[0] == 1
    assert classification.rank_hits(truth, guess, LINEAGES, "family").tolist() == [1, 0, 1]


def test_rank_chance_is_the_mean_over_all_candidates():
    candidates = ["red fox", "swift fox", "lynx"]
    for rank in ("species", "genus", "family"):
        slow = np.mean([classification.rank_hits(["red fox"], [guess], LINEAGES, rank) for guess in candidates])
        assert classification.rank_chance(["red fox"], candidates, LINEAGES, rank)[0] == pytest.approx(slow)
    assert np.isnan(classification.rank_chance(["blank"], candidates, LINEAGES, "family")[0])


def test_labels_must_be_known_and_pair_up():
    with pytest.raises(ValueError, match="'yeti'"):
        classification.confusion(["yeti"], ["lynx"], ["lynx"])
    with pytest.raises(ValueError, match="pair up"):
        classification.hits(["lynx"], [])


def test_place_only_knows_places_it_has_seen_and_the_largest_class_elsewhere():
    places, labels = [*"xxxyyz"], ["fox", "fox", "lynx", "lynx", "hare", "fox"]
    assert baselines.place_only(places, labels, ["x", "y", "never"]) == ["fox", "hare", "fox"]
    assert baselines.largest_class(labels, 2) == ["fox", "fox"]
    assert baselines.most_frequent(["b", "a"]) == "a"
    with pytest.raises(ValueError, match="no training label"):
        baselines.largest_class([], 3)
