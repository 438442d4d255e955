"""Which word each token of a text is part of, and which words name the animal: what constraints on attention must not
set against itself.

Pieces of one word share its id, and so do equal words, of all texts. Ids from `ANIMAL` on are of the words of the shown
animal's names ("roe", "deer"; "wolves" has that of "wolf"): they attend to the same thing. Special tokens, punctuation
and stop words say nothing and have none.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

NONE = -1
ANIMAL = 1 << 62
"""Added to the id of a word that is part of a name of the animal shown."""


@lru_cache(maxsize=100_000)
def word_id(text: str) -> int:
    """62-bit hash of a word."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2


STOP_WORDS = {
    "eng": "a an the and or of in on at to by with without from for is are was be as it its this that there no not "
    "one two",
    "fra": "le la les l un une des du de d a au aux en dans sur sous par pour avec sans devant entre et ou ni que qu "
    "est sont ont se sa ne n deux",
    "spa": "el la los las un una unos unas de del a al en con sin por para entre sobre y e o ni que es se dos",
    "por": "o a os as um uma uns umas de do da dos das em no na nos nas com sem por para pelo pela entre e ou que se "
    "dois duas",
    "deu": "der die das des dem ein eine einem einen einer eines an am auf aus bei beim bis im in mit ohne vom von vor "
    "zu zum zur und oder ist sind zwei",
}
"""Without accents. Left out is what names things in another of the languages: den, hat, für (fur), son, man."""
STOP = frozenset(word for words in STOP_WORDS.values() for word in words.split())
"""Words that name nothing an image shows by itself, also where a name holds them ("venado de cola blanca")."""
ANIMALS = frozenset(
    {"animal", "animals", "animaux", "animales", "animais", "tier", "tiere", "tieren"}
    | {"individu", "individus", "individuo", "individuos"}
)
"""What captions call any animal."""
EVERY = word_id("animal")
"""The id of them all: true of every animal."""
NOTHING: Mapping[str, str] = MappingProxyType({})


class WordTable:
    """The pieces of a tokeniser's vocabulary, by id: what each adds to a word, and whether it begins or ends one.

    WordPiece marks what continues a word (##s), byte-level BPE and SentencePiece what begins one (Ġdeer, ▁deer), CLIP
    what ends one (deer</w>).
    """

    def __init__(self, pieces: Sequence[str]):
        marked = any(piece.startswith(("Ġ", "▁")) for piece in pieces)
        closed = any(piece.endswith("</w>") for piece in pieces)
        self.text = [_letters(piece) for piece in pieces]
        self.begins = [
            piece.startswith(("Ġ", "▁")) if marked else not closed and not piece.startswith("##") for piece in pieces
        ]
        self.ends = [piece.endswith("</w>") for piece in pieces]

    def words(self, ids: Sequence[int], names: Mapping[str, str] = NOTHING) -> list[int]:
        """A word id for each token; `names` are the `name_words` of the animal that is shown."""
        return [self._id(text, names) for text in self._texts(ids)]

    def _texts(self, ids: Sequence[int]) -> list[str]:
        """The whole word of each token, empty for one that is no part of any."""
        spans: list[list[int]] = []
        open_word = False
        for place, one in enumerate(ids):
            said = bool(self.text[one])
            if said and open_word and not self.begins[one]:
                spans[-1].append(place)
            elif said:
                spans.append([place])
            open_word = said and not self.ends[one]
        texts = [""] * len(ids)
        for span in spans:
            word = "".join(self.text[ids[place]] for place in span)
            for place in span:
                texts[place] = word
        return texts

    @staticmethod
    def _id(text: str, names: Mapping[str, str]) -> int:
        if not text or text in STOP:
            return NONE
        if text in names:
            return ANIMAL + word_id(names[text])
        return EVERY if text in ANIMALS else word_id(text)


def name_words(written: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The words of an animal's names as texts write them, each with the word that it is a form of (wolves: wolf).
    `written` are the names so written ("grey wolves"), each with the name itself ("grey wolf")."""
    return {form: word for text, name in written for form, word in zip(_words(text), _words(name), strict=False)}


def runs(words: Sequence[int], one: int) -> list[list[int]]:
    """The places of each uninterrupted run of the word `one`: a name of two words is one run."""
    found: list[list[int]] = []
    for place, word in enumerate(words):
        if word == one and found and found[-1][-1] == place - 1:
            found[-1].append(place)
        elif word == one:
            found.append([place])
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", _plain(text))


def _letters(piece: str) -> str:
    """The letters and digits that a piece adds, in lower case; empty for a special token or punctuation."""
    if re.fullmatch(r"\[[A-Z]+\]|<.+>", piece):
        return ""
    bare = _plain(piece.removesuffix("</w>").removeprefix("##").lstrip("Ġ▁"))
    return bare if any(one.isalnum() for one in bare) else ""


def _plain(text: str) -> str:
    """In lower case and without accents, as most tokenisers have it."""
    parts = unicodedata.normalize("NFD", text.lower())
    return "".join(one for one in parts if unicodedata.category(one) != "Mn")
