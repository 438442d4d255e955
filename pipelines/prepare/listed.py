"""Phrases without agreement, for languages in which articles, adjectives and verbs would have to agree with a name
whose gender and plural no archive states: the name as it is, and in parentheses what is known of the animals.

Adjectives among these agree with "individual", the word that their language counts animals by.
"""

from collections.abc import Mapping
from typing import Any

from pipelines.prepare.english import Kind

PARTS = ("count", "stage", "sex", "behavior", "light", "infrared")


class Listed:
    """The words of one languages file. `said` maps what a text says (count, stage, ...) to its recorded value."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        self._words = words

    def can_count(self, kind: Kind) -> bool:
        """Whether a count can be said of a noun: individuals are counted, so always."""
        return True

    def subject(self, noun: str, kind: Kind, said: Mapping[str, str]) -> str:
        """`name (two individuals, adult, at night)`."""
        several = said.get("count", "one") != "one"
        forms = [self._words[part][said[part]] for part in PARTS if part in said]
        listed = [form if isinstance(form, str) else form[several] for form in forms]
        return f"{noun} ({', '.join(listed)})" if listed else noun

    def forms(self, noun: str) -> tuple[str, ...]:
        """The noun in every way texts have it: names are not inflected."""
        return (noun,)

    def kind(self, name: str, of_group: bool) -> Kind:
        """Names are not inflected, so it does not matter."""
        return "common"

    def name(self, written: str) -> str:
        """An archive's name as it stands in a sentence."""
        if not self._words["lower_names"]:
            return written
        words = written.split()
        if all(word[:1].isupper() for word in words):
            return written.lower()
        return written if words[0].isupper() else written[:1].lower() + written[1:]
