"""Which word, or animal, each token of a text is part of: what constraints on attention must not set against itself.

Pieces of one word share its id, and so do equal words. The words of an animal's name ("roe", "deer") share the animal's
id: they attend to the same thing. Special tokens, punctuation and stop words say nothing and have none.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from functools import lru_cache

NONE = -1
STOP = frozenset(
    {"a", "an", "the", "and", "or", "of", "in", "on", "at", "to", "by", "with", "from", "for", "is", "are", "was", "be"}
    | {"as", "it", "its", "this", "that", "there", "no", "not", "one", "two"}
)
"""Words that name nothing an image shows by itself."""


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

    def words(self, ids: Sequence[int], animal: Collection[str] = ()) -> list[int]:
        """A word id for each token; `animal` holds the words of the names of the animal that is shown."""
        texts, own = self._texts(ids), animal_id(animal)
        return [self._id(text, animal, own) for text in texts]

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
    def _id(text: str, animal: Collection[str], own: int) -> int:
        if not text or text in STOP:
            return NONE
        return own if {text, text.removesuffix("s"), text.removesuffix("es")} & set(animal) else word_id(text)


def name_words(names: Collection[str]) -> tuple[str, ...]:
    """The words of an animal's names in lower case, as `WordTable.words` takes them."""
    found = {word for name in names for word in re.findall(r"\w+", name.lower())}
    return tuple(sorted(found - STOP))


def animal_id(animal: Collection[str]) -> int:
    """The id of all words that name an animal, of which `animal` holds the words of its names."""
    return word_id(" ".join(["an animal:", *sorted(animal)]))


def runs(words: Sequence[int], one: int) -> list[list[int]]:
    """The places of each uninterrupted run of the word `one`: a name of two words is one run."""
    found: list[list[int]] = []
    for place, word in enumerate(words):
        if word == one and found and found[-1][-1] == place - 1:
            found[-1].append(place)
        elif word == one:
            found.append([place])
    return found


def _letters(piece: str) -> str:
    """The letters and digits that a piece adds, in lower case; empty for a special token or punctuation."""
    if re.fullmatch(r"\[[A-Z]+\]|<.+>", piece):
        return ""
    bare = piece.removesuffix("</w>").removeprefix("##").lstrip("Ġ▁").lower()
    return bare if any(one.isalnum() for one in bare) else ""


@lru_cache(maxsize=100_000)
def word_id(text: str) -> int:
    """63-bit hash of a word."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
