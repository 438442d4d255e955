"""Words of tokens, in the ways tokenisers mark them."""

import pytest

from xmodal.words import ANIMAL, EVERY, NONE, WordTable, name_words, word_id

WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "roe", "deer", "##s", ".", "fox", "at", "night"]
BYTE_LEVEL = ["<s>", "</s>", "Ġa", "Ġfox", "es", "Fox", "Ġdeer", ",", "Ġ"]
CLIP = ["<|startoftext|>", "<|endoftext|>", "a</w>", "fox</w>", "fo", "x</w>", ".</w>", "es</w>"]


def test_pieces_of_a_word_share_its_id_and_what_says_nothing_has_none() -> None:
    found = WordTable(WORDPIECE).words([2, 5, 7, 8, 11, 12, 9, 3, 0])
    deers, night = word_id("deers"), word_id("night")
    assert found == [NONE, NONE, deers, deers, NONE, night, NONE, NONE, NONE]


def test_the_words_of_an_animals_name_are_marked_and_words_of_their_own() -> None:
    table = WordTable(WORDPIECE)
    names = name_words([("Roe Deer", "Roe Deer"), ("European roes", "European roe")])
    assert names == {"roe": "roe", "deer": "deer", "european": "european", "roes": "roe"}
    roe, deer, roes, _, fox = table.words([6, 7, 6, 8, 10], names)
    assert [roe, deer, roes, fox] == [*(ANIMAL + word_id(word) for word in ("roe", "deer", "roe")), word_id("fox")]
    assert table.words([6, 7], name_words([("red deer", "red deer")])) == [word_id("roe"), deer]


def test_words_for_any_animal_are_one() -> None:
    table = WordTable(["animal", "animals", "tier", "##e", "animaux"])
    assert set(table.words([0, 1, 2, 2, 3, 4])) == {EVERY}


def test_stop_words_of_a_name_name_nothing_and_accents_make_no_other_word() -> None:
    pieces = ["venado", "de", "cola", "blanca", "el", "la", "lievre", "lièvre", "a"]
    names = name_words([("venado de cola blanca", "venado de cola blanca"), ("Lièvre à la", "Lièvre à la")])
    said = WordTable(pieces).words(range(len(pieces)), names)
    named = [ANIMAL + word_id(word) for word in ("venado", "cola", "blanca", "lievre")]
    assert said == [named[0], NONE, *named[1:3], NONE, NONE, named[3], named[3], NONE]


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
