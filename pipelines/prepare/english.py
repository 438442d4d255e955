"""English noun phrases from data: indefinite articles, plurals, and the case of names."""

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["common", "plural", "scientific"]
"""Of a noun: one that takes articles and plurals, one that is a plural already, a scientific name."""
BEFORE, AFTER = ("stage", "sex"), ("behavior", "light", "infrared")
"""What stands before and behind the noun."""


class English:
    """The rules of one languages file. `said` maps what a text says (count, stage, ...) to its recorded value."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        self._words = words
        self._plural = words["plural"]
        self._article = words["article"]
        self._proper = {word.lower(): word for word in words["proper"]}

    def can_count(self, kind: Kind) -> bool:
        """Whether a count can be said of a noun: scientific names have no plural."""
        return kind == "common"

    def subject(self, noun: str, kind: Kind, said: Mapping[str, str]) -> str:
        """Count, adjectives and noun, in the plural or behind an article, and what follows them."""
        before = [self._words[part][said[part]] for part in BEFORE if part in said]
        after = [self._words[part][said[part]] for part in AFTER if part in said]
        count = [self._words["count"][said["count"]]] if "count" in said else []
        if said.get("count", "one") == "one":
            phrase = " ".join([*count, *before, noun])
            phrase = self.article(phrase) if kind == "common" or (kind == "scientific" and before) else phrase
        else:
            phrase = " ".join([*count, *before, self.plural(noun)])
        return " ".join([phrase, *after])

    def article(self, phrase: str) -> str:
        """The phrase behind "a" or "an", by its first sound."""
        word = phrase.lower()
        vowel = word[:1] in tuple("aeiou")
        if word.startswith(tuple(self._article["a"])):
            vowel = False
        elif word.startswith(tuple(self._article["an"])):
            vowel = True
        return f"{'an' if vowel else 'a'} {phrase}"

    def forms(self, noun: str) -> tuple[str, ...]:
        """The noun in every way texts have it."""
        return noun, self.plural(noun)

    def plural(self, noun: str) -> str:
        """The noun in the plural; the last word changes, or the one before "of the"."""
        said, of, rest = noun.partition(" of the ")
        head, space, word = said.rpartition(" ")
        return head + space + self._plural_word(word) + of + rest

    def kind(self, name: str, of_group: bool) -> Kind:
        """Cattle are never one; some names of groups are plurals ("great herons"), and no rule makes them singular."""
        if name.lower().split()[-1] in self._plural["only"]:
            return "plural"
        singular = ("ss", "us", "is", "as", *self._plural["singular"], *self._plural["same"])
        return "plural" if of_group and name.endswith("s") and not name.lower().endswith(singular) else "common"

    def name(self, written: str) -> str:
        """An archive's name as it stands in a sentence."""
        words = written.split()
        capitals = all(word[:1].isupper() for word in words if word.lower() not in ("of", "the", "and"))
        return " ".join(self._cased(word, capitals) for word in words)

    def _cased(self, word: str, capitals: bool) -> str:
        if word.lower() in self._proper:
            return self._proper[word.lower()]
        return word.lower() if capitals and not word.endswith(("'s", "’s")) else word

    def _plural_word(self, word: str) -> str:
        lower = word.lower()
        if lower.endswith(tuple(self._plural["same"])):
            return word
        for ending, replacement in self._plural["endings"].items():
            whole = ending in self._plural["whole_words"]
            if lower == ending or (not whole and lower.endswith(ending)):
                return word[: len(word) - len(ending)] + replacement
        if lower.endswith("y") and lower[-2:-1] not in tuple("aeiou"):
            return word[:-1] + "ies"
        return word + ("es" if lower.endswith(("s", "x", "z", "ch", "sh")) else "s")
