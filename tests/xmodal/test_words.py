"""Words of tokens, in the ways tokenisers mark them."""

import pytest

from xmodal.words import NONE, WordTable, name_words, word_id

WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "roe", "deer", "##s", ".", "fox", "at", "night"]
BYTE_LEVEL = ["<s>", "</s>", "Ġa", "Ġfox", "es", "Fox", "Ġdeer", ",", "Ġ"]
CLIP = ["<|startoftext|>", "<|endoftext|>", "a</w>", "fox</w>", "fo", "x</w>", ".</w>", "es</w>"]


def test_pieces_of_a_word_share_its_id_and_what_says_nothing_has_none() -> None:
    found = WordTable(WORDPIECE).words([2, 5, 7, 8, 11, 12, 9, 3, 0])
    deers, night = word_id("deers"), word_id("night")
    assert found == [NONE, NONE, deers, deers, NONE, night, NONE, NONE, NONE]


def test_the_words_of_an_animals_name_are_one_thing() -> None:
    table, names = WordTable(WORDPIECE), name_words(["Roe Deer", "European roe"])
    assert names == ("deer", "european", "roe")
    roe, deer, plural, _, fox = table.words([6, 7, 7, 8, 10], names)
    assert roe == deer == plural != fox == word_id("fox")
    assert table.words([6, 7], names)[0] != table.words([6, 7], name_words(["red deer"]))[1]


@pytest.mark.parametrize(
    ("pieces", "ids", "words"),
    [
        (BYTE_LEVEL, [0, 2, 3, 4, 7, 6, 1], ["", "", "foxes", "foxes", "", "deer", ""]),
        (BYTE_LEVEL, [0, 5, 6, 8, 1], ["", "fox", "deer", "", ""]),
        (CLIP, [0, 2, 4, 5, 3, 6, 1], ["", "", "fox", "fox", "fox", "", ""]),
        (CLIP, [4, 7, 3], ["foes", "foes", "fox"]),
    ],
)
def test_other_tokenisers_mark_beginnings_or_ends(pieces: list[str], ids: list[int], words: list[str]) -> None:
    assert WordTable(pieces).words(ids) == [word_id(word) if word else NONE for word in words]
