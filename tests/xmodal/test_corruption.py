"""Word corruption: shares as stated, word by word, keyed by (seed, sample, epoch)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from xmodal.corruption import Corruption, Pieces, WordCorruption
from xmodal.settings import SettingsError, parse
from xmodal.wordpiece import CLS, MASK, SEP, SPECIAL, WordPiece

WORDS = WordPiece([*SPECIAL, *(f"w{n}" for n in range(20)), *(f"##p{n}" for n in range(10))])
PIECES = Pieces.of(WORDS.tokens)
FIRST_PART = 25


def text(words: list[int]) -> np.ndarray:
    """[CLS], words of as many pieces as stated (a start, then continuations), [SEP]."""
    pieces = [
        piece for n, size in enumerate(words) for piece in [5 + n % 20, *range(FIRST_PART, FIRST_PART + size - 1)]
    ]
    return np.array([CLS, *pieces, SEP])


def words_of(ids: np.ndarray) -> list[list[int]]:
    found: list[list[int]] = []
    for one in ids[1:-1].tolist():
        if one >= FIRST_PART and found:
            found[-1].append(one)
        else:
            found.append([one])
    return found


def test_shares_of_words_are_those_of_the_released_loader() -> None:
    corrupt = Corruption(WordCorruption(), PIECES, 0)
    ids = np.array([CLS, *range(5, 25), SEP])
    counts = {"mask": 0, "random": 0, "deleted": 0}
    rounds = 2000
    for epoch in range(rounds):
        found = corrupt(ids, "sample", epoch)
        assert found[0] == CLS and found[-1] == SEP
        masked = int((found == MASK).sum())
        counts["mask"] += masked
        counts["deleted"] += len(ids) - len(found)
        ordinary = found[found != MASK].tolist()
        counts["random"] += len(ordinary) - len(set(ordinary) & set(ids.tolist()))  # but for those drawn of the text
    total = 20 * rounds
    assert counts["mask"] / total == pytest.approx(0.1, abs=0.005)
    assert counts["deleted"] / total == pytest.approx(0.08, abs=0.005)
    assert counts["random"] / total == pytest.approx(0.02, abs=0.006)


@hypothesis(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=8), st.integers(0, 5), st.integers(0, 50))
def test_a_word_changes_whole_and_the_draw_is_its_keys(words: list[int], seed: int, epoch: int) -> None:
    ids = text(words)
    masking = Corruption(WordCorruption(share=0.5, mask=1.0, random=0.0), PIECES, seed)
    found = masking(ids, "s", epoch)
    assert len(found) == len(ids) and (found == masking(ids, "s", epoch)).all()
    start = 1
    for size in words:
        part = found[start : start + size]
        assert (part == MASK).all() or (part == ids[start : start + size]).all()
        start += size
    deleting = Corruption(WordCorruption(share=0.5, mask=0.0, random=0.0), PIECES, seed)
    kept = words_of(deleting(ids, "s", epoch))
    rest = iter(words_of(ids))
    assert all(any(one == other for other in rest) for one in kept), "whole words, in their order"


def test_random_pieces_are_ordinary_ones_and_number_as_many() -> None:
    drawing = Corruption(WordCorruption(share=1.0, mask=0.0, random=1.0), PIECES, 0)
    ids, seen = text([1, 3, 2]), set()
    for epoch in range(200):
        found = drawing(ids, "s", epoch)
        assert len(found) == len(ids) and found[0] == CLS and found[-1] == SEP
        seen |= set(found[1:-1].tolist())
    assert seen == set(range(len(SPECIAL), len(WORDS)))


def test_everything_deleted_leaves_the_frame_and_an_empty_text_stays() -> None:
    deleting = Corruption(WordCorruption(share=1.0, mask=0.0, random=0.0), PIECES, 0)
    assert deleting(text([2, 1]), "s", 0).tolist() == [CLS, SEP] == deleting(text([]), "s", 0).tolist()


def test_seed_sample_and_epoch_each_change_the_draw() -> None:
    ids = text([1] * 20)
    drawn = {
        (seed, sample, epoch): Corruption(WordCorruption(), PIECES, seed)(ids, sample, epoch).tobytes()
        for seed in (0, 1) for sample in ("a", "b") for epoch in (0, 1)
    }  # fmt: skip
    assert len(set(drawn.values())) == 8


@pytest.mark.parametrize("tokens", [["[MASK]", "a", "b"], ["a", "##b"], ["<mask>", "Ġa", "b"]])
def test_a_vocabulary_that_does_not_show_words_is_refused(tokens: list[str]) -> None:
    with pytest.raises(SettingsError, match=r"train\.words: words .* cannot be told"):
        Pieces.of(tokens)


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(SettingsError, match="at most 1"):
        parse(WordCorruption, {"mask": 0.8, "random": 0.3})
