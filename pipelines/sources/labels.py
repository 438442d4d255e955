"""What a free label is about, and the rank of a scientific name."""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator

from pipelines.sources import higher_taxa, label_words

BAD = {"#ref!", "#n/a", "#name?", "#value!"}
"""Spreadsheet errors that were exported as labels."""

RANKS = ("kingdom", "phylum", "class", "order", "family", "subfamily", "tribe", "genus", "species", "subspecies")
"""From the highest to the lowest."""

_NAMED = {"kingdom": higher_taxa.KINGDOMS, "phylum": higher_taxa.PHYLA, "class": higher_taxa.CLASSES,
          "order": higher_taxa.ORDERS} | higher_taxa.BETWEEN  # fmt: skip
_HIGHER = {name: rank for rank, names in _NAMED.items() for name in names.split()}
"""Higher taxa in small letters to their ranks, of which some lie between RANKS."""


@lru_cache(1 << 14)
def plain(label: str) -> str:
    """A label as it is compared: small letters without accents, one space for whatever separates its words."""
    decomposed = unicodedata.normalize("NFKD", label.replace("’", "'").replace("`", "'"))
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(_SEPARATORS.sub(" ", letters.casefold()).split())


def _listed(*lists: str) -> frozenset[str]:
    return frozenset(plain(entry) for one in lists for entry in one.split(","))


_SEPARATORS = re.compile(r"[^\w']|_")
_NUMBERS = re.compile(r"\b\d+\b|(?<=[^\W\d][^\W\d])\d+\b")
_WITHIN = {"human": _listed(label_words.PEOPLE_WITHIN), "vehicle": _listed(label_words.VEHICLE_WITHIN)}
_ANIMALS = _listed(label_words.ANIMALS)
BLANK = _listed(label_words.BLANK)
_WHOLE = {
    "human": _listed(label_words.PEOPLE_WHOLE),
    "vehicle": _listed(label_words.VEHICLE_WHOLE),
    "blank": BLANK,
    "unclassified": _listed(label_words.UNCLASSIFIED),
    "unknown": _listed(label_words.UNKNOWN),
}
"""In the order in which they count where labels of one row differ."""

ObservationType = Literal["animal", "human", "vehicle", "blank", "unknown", "unclassified"]
SILENT = ("unknown", "unclassified")
"""Types that say nothing of a frame."""
"""Camtrap DP's observationType."""


def _told_apart(types: dict[str, ObservationType]) -> dict[str, ObservationType]:
    """Raises ValueError for a label of no letter or digit, and for two spellings of one label with two types."""
    known: dict[str, str] = {}
    for label, kind in types.items():
        if not plain(label):
            raise ValueError(f"{label!r} has no letter or digit by which a label could be known")
        if known.setdefault(plain(label), kind) != kind:
            raise ValueError(f"{label!r} is {kind} and, in another spelling, {known[plain(label)]}")
    return types


LabelTypes = Annotated[dict[str, ObservationType], AfterValidator(_told_apart)]
"""The setting `types`: labels as an archive writes them, in any case and with any separators, to what they mean."""


def as_compared(types: Mapping[str, str]) -> dict[str, str]:
    """`types` by `plain` labels, as `observation_type` takes them."""
    return {plain(label): kind for label, kind in types.items()}


def observation_type(*labels: str | None, types: Mapping[str, str] = {}) -> str:
    """animal | human | vehicle | blank | unknown | unclassified, from a row's label and scientific name.

    What a label means is told by `types` (`as_compared`), else by the words of `label_words`; whatever neither holds is
    an animal's name. "animal" itself is an animal that nobody has named. Any name of the genus Homo is a human.
    """
    found = {_label_type(plain(label), types) for label in labels if label}
    return next((kind for kind in _WHOLE if kind in found), "animal")


def _label_type(label: str, types: Mapping[str, str]) -> str:
    """The type of a `plain` label."""
    return types.get(label) or _word_type(label)


@lru_cache(1 << 14)
def _word_type(label: str) -> str:
    """Numbers say nothing ("person 2"); a label without letters and digits names nothing."""
    words = " ".join(_NUMBERS.sub(" ", label).split())
    whole = next((kind for kind, entries in _WHOLE.items() if words in entries), None)
    return whole or _part_type(words) or ("animal" if label else "unknown")


def _part_type(words: str) -> str | None:
    """human or vehicle where a label holds such words."""
    for name in _ANIMALS:
        words = re.sub(rf"\b{name}\b", " ", words)
    runs = _runs(words.split())
    return next((kind for kind, entries in _WITHIN.items() if not runs.isdisjoint(entries)), None)


def _runs(words: list[str]) -> set[str]:
    """Every one and every two words that stand together."""
    return {*words, *(" ".join(pair) for pair in pairwise(words))}


_SUBSPECIES = re.compile(r" (ssp|subsp|var)\.?(?= [a-z])")
_OPEN = re.compile(r"\s+(spp?\.?|ssp\.?|subsp\.?|cf\.?|aff\.?|indet\.?)(\s.*)?$")
_YEAR = re.compile(r", ?\d{4}[a-z]?[)\]]?$|\d{4}[a-z]?[)\]]$")
_PARTICLE = r"(?:d[aeiu]|des|von|van|den|der|la|le)"
_EPITHET = rf"(?!{_PARTICLE} )[a-z-]{{2,}}"
_AUTHOR = rf"(?:{_PARTICLE} )*[^\W\d_a-z][\w.'’-]*"
_AUTHORS = rf"{_AUTHOR}(?:(?:,? | & | et | and | ex | in ){_AUTHOR})*"
_AUTHORED = re.compile(rf"([A-Z][a-z-]+(?: {_EPITHET}){{1,2}}) [(\[]?{_AUTHORS}(?:,? \d{{4}}[a-z]?)?[)\]]?")
"""A species or subspecies, then who described it: `(Linnaeus, 1758)`, `É. Geoffroy & Cuvier, 1795`, `L.`"""


def taxon(written: str | None) -> tuple[str | None, str | None]:
    """Scientific name without open nomenclature (`Canis sp.` is the genus Canis) and without author and year, and its
    rank where the name shows it.

    Two words are a species, three a subspecies, as are those with ssp., subsp. or var. before the third. One word is
    told by the lists of `higher_taxa`, else by its ending (-idae family), else it is a genus, as archives mostly mean.
    A name that does not begin with one capitalised word has no rank.
    """
    name = " ".join((written or "").split())
    if not name:
        return None, None
    name = _SUBSPECIES.sub("", name)
    authored = _AUTHORED.fullmatch(name)
    name = _OPEN.sub("", authored[1] if authored and _YEAR.search(name) else name)
    return name, _rank(name)


def scientific(written: str | None) -> tuple[str | None, str | None]:
    """`taxon` of a column that holds scientific names alone. There a species may stand in small letters or capitals
    (`vulpes vulpes`), and its author without a year; elsewhere these would be a red fox, and the Cubs of a Red fox."""
    name = " ".join((written or "").split())
    if re.fullmatch(r"[a-z-]{2,} [a-z-]{2,}|[A-Z-]{2,} [A-Z-]{2,}", name):
        name = name.capitalize()
    name = _SUBSPECIES.sub("", name)
    authored = _AUTHORED.fullmatch(name)
    return taxon(authored[1] if authored else name)


def _rank(name: str) -> str | None:
    words = name.split()
    if not re.fullmatch(r"[A-Z][a-z-]+", words[0]):
        return None
    if len(words) == 1:
        return _single_word_rank(name.lower())
    binomial = all(re.fullmatch(r"[a-z-]+", word) for word in words[1:])
    return {2: "species", 3: "subspecies"}.get(len(words)) if binomial else None


def _single_word_rank(word: str) -> str:
    by_ending = (rank for ending, rank in higher_taxa.ENDINGS if word.endswith(ending))
    return _HIGHER.get(word) or next(by_ending, "genus")
