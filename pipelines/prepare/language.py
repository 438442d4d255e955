"""The languages that captions are written in: one YAML file each, named by its ISO 639-3 code as Camtrap DP names them.

A file holds frames, words and rules as data, and names the grammar that puts them together: `english` (articles and
plurals) or `listed` (nothing that has to agree). Names of animals are the archive's own: where it states none in a
language the scientific name stands there, and nothing is ever translated.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from pipelines.prepare.english import English
from pipelines.prepare.listed import Listed

GRAMMARS = {"english": English, "listed": Listed}


class Language:
    """Words of a languages file and the grammar they ask for."""

    def __init__(self, words: dict[str, Any]) -> None:
        self.code: str = words["language"]
        self.words = words
        self.grammar: English | Listed = GRAMMARS[words["grammar"]](words)

    @property
    def version(self) -> str:
        return f"{self.code}-{self.words['version']}"

    def can_say(self, part: str, value: str | None) -> bool:
        """Whether there are words for the value of count, stage, sex, behavior, light or infrared."""
        return value in self.words[part]

    def group(self, rank: str, taxon: str) -> str:
        """What a higher taxon is called: its noun, else its scientific name and rank."""
        return self.words["higher"].get(rank, {}).get(taxon) or self.words["ranks"][rank].format(name=taxon)


@cache
def available() -> tuple[str, ...]:
    """Codes of the languages there are, sorted."""
    return tuple(sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml")))


@cache
def language(code: str) -> Language:
    """The language of that code, one of `available()`."""
    return Language(YAML(typ="safe").load((_folder() / f"{code}.yaml").read_text("utf-8")))


def version(codes: Sequence[str]) -> str:
    """Versions of the languages in use, for the version document: `eng-2` or `eng-2 fra-1`."""
    return " ".join(language(code).version for code in codes)


def _folder() -> Any:
    return files("pipelines.prepare") / "languages"
