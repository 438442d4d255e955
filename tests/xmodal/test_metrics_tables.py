"""Figure rows: every one beside its chance level, its interval and what was left out."""

import numpy as np
import pytest
import torch

from xmodal.metrics import captions, retrieval, tables


def found(queries: int = 12) -> tuple[retrieval.Ranks, retrieval.Precisions]:
    owner = torch.arange(queries)
    rows, relevant = retrieval.dots(torch.eye(queries), torch.eye(queries)), retrieval.same_owner(owner, owner)
    return retrieval.ranks(rows, relevant, queries), retrieval.precisions(rows, relevant, queries)


def test_retrieval_rows_are_in_percent_beside_chance():
    ranks, precisions = found()
    rows = {row.name: row for row in tables.retrieval("test", "t2i", ranks, range(12))}
    assert list(rows) == ["test/t2i/r1", "test/t2i/r5", "test/t2i/r10", "test/t2i/median_rank"]
    first = rows["test/t2i/r1"]
    assert (first.value, first.low, first.high, first.n, first.unit) == (100, 100, 100, 12, "%")
    assert first.chance == pytest.approx(100 / 12)
    assert (rows["test/t2i/median_rank"].value, rows["test/t2i/median_rank"].chance) == (1, 6)
    assert [row.value for row in tables.precision("test", "t2i", precisions, range(12))] == pytest.approx([100, 100])
    total = tables.recall_sum("test", ranks, ranks, range(12), range(12))
    assert (total.value, total.high) == (pytest.approx(600), pytest.approx(600))


def test_precision_at_k_says_what_no_order_can_pass():
    _, precisions = found()
    at = {5: np.full(12, 0.2), 10: np.full(12, 0.1)}
    five, ten = tables.precision_at("test", "t2i", at, precisions, range(12))
    assert (five.name, five.value, ten.name, ten.value) == ("test/t2i/p5", 20, "test/t2i/p10", pytest.approx(10))
    assert five.chance == ten.chance == pytest.approx(100 / 12) and five.low == 20
    assert "at most 20.0 %" in five.note and "at most 10.0 %" in ten.note


def test_ndcg_counts_the_texts_that_it_leaves_out():
    row = tables.by_distance("test", retrieval.Graded(np.array([0.9, 0.7, np.nan]), np.full(3, 0.5)), [0, 1, 2])
    assert (row.name, row.n, row.chance) == ("test/t2i/ndcg", 2, 50) and row.value == pytest.approx(80)
    assert "1 texts that name no species with a name at every rank left out" in row.note and row.low is not None


def test_queries_left_out_are_counted_in_the_note():
    rows, relevant = retrieval.dots(torch.eye(3), torch.eye(3)), torch.eye(3, dtype=torch.bool)
    relevant[2] = False
    part = tables.retrieval("test", "i2t", retrieval.ranks(rows, lambda rows: relevant[rows], 3), [1, 1, 1])[0]
    assert part.n == 2 and "1 queries without a right answer left out" in part.note
    assert part.interval is None


def test_species_rows_weigh_images_or_species():
    truth, guess = ["fox"] * 8 + ["lynx"] * 2, ["fox"] * 10
    micro, macro = tables.species("test", truth, guess, ["fox", "lynx", "boar", "hare"], [0, 1] * 5)
    assert (micro.value, macro.value, micro.chance, macro.chance) == (80, 50, 25, 25)
    lineages = {"fox": {"class": "Mammalia"}, "lynx": {"class": "Mammalia"}}
    (at_class,) = tables.per_rank("test", truth, guess, ["fox", "lynx"], lineages, [0, 1] * 5)
    assert (at_class.name, at_class.value, at_class.chance) == ("test/species/class", 100, 100)


def test_caption_rows_stand_beside_the_constant_caption():
    references = [["a fox in the snow at night"], ["a boar under an oak tree"], ["a lynx on a flat rock"]]
    exact = [texts[0] for texts in references]
    constant = captions.score([exact[0]] * 3, references)
    bleu, cider = tables.captions("test", captions.score(exact, references), constant, range(3))
    assert bleu.value == pytest.approx(100) and bleu.chance is not None and bleu.chance < 50
    assert cider.value == pytest.approx(10) and cider.chance is not None and cider.chance < 5
    assert "1 words stand in every image's references" in cider.note


def test_shape_rows_cover_both_clouds_and_their_union():
    rows = tables.shape("test", torch.eye(6), torch.eye(6), range(6), 0.05)
    names = {row.name.rpartition("/")[2] for row in rows}
    assert {"alignment", "gap", "i_nce", "uniformity_union", "rank_image", "uniformity_text"} <= names
    assert rows[0].value == 0 and rows[0].chance == pytest.approx(2 - 2 / 6)
    assert all(row.chance is not None and row.low is not None for row in rows)
