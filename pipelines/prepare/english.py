"""English noun phrases from data: indefinite articles and plurals."""

from collections.abc import Mapping
from typing import Any


class English:
    """The spelling rules of one templates file."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._plural = rules["plural"]
        self._article = rules["article"]

    def article(self, phrase: str) -> str:
        """The phrase behind "a" or "an", by its first sound."""
        word = phrase.lower()
        vowel = word[:1] in tuple("aeiou")
        if word.startswith(tuple(self._article["a"])):
            vowel = False
        elif word.startswith(tuple(self._article["an"])):
            vowel = True
        return f"{'an' if vowel else 'a'} {phrase}"

    def plural(self, noun: str) -> str:
        """The noun in the plural; the last word changes."""
        head, space, word = noun.rpartition(" ")
        return head + space + self._plural_word(word)

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
