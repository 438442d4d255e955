"""A search space: which settings of a recipe are searched, where, and how. `tune_spaces` documents the form by example.

Spaces are YAML files in the words of recipes; what they say is checked at every corner before anything is trained.
"""

import difflib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from pipelines.recipe import Recipe
from pipelines.tune.domains import AnyDomain
from pipelines.tune.searches import Search
from xmodal.settings import Settings, SettingsError, differences, flatten, override, parse, read_yaml

CORNERS = 4096
"""Of a space, at most: it is checked at each of them."""


class Space(Settings):
    """One search space."""

    description: str = ""
    """What is asked, in a sentence; shown in the report."""
    search: Search
    """How it is searched."""
    settings: dict[str, AnyDomain]
    """Path of a setting to what it may be, in the order in which they are drawn."""


def load_space(name: str) -> tuple[str, Space]:
    """Short name and space of a file, or of one that comes with xmodal. Raises SettingsError."""
    shipped = {
        Path(str(one)).stem: Path(str(one)) for one in files("tune_spaces").iterdir() if one.name.endswith("yaml")
    }
    path = Path(name) if Path(name).is_file() else shipped.get(name)
    if path is None:
        near = difflib.get_close_matches(name, shipped, n=1)
        hint = f"did you mean {near[0]}?" if near else f"spaces that come with xmodal: {', '.join(sorted(shipped))}"
        raise SettingsError(f"{name}: no such search space; {hint}")
    try:
        space = parse(Space, read_yaml(path))
        _check_conditions(space)
    except SettingsError as error:
        lines = str(error).splitlines()
        raise SettingsError("\n".join(line if str(path) in line else f"{path}: {line}" for line in lines)) from None
    return path.stem, space


def _check_conditions(space: Space) -> None:
    """Raises SettingsError where a condition names what is not drawn before it, or a value that it cannot have."""
    if not space.settings:
        raise SettingsError("settings: names no setting to search")
    before: dict[str, AnyDomain] = {}
    for path, domain in space.settings.items():
        for other, values in domain.when.items():
            if other not in before:
                raise SettingsError(f"settings.{path}.when: {other} is not drawn before it in this space")
            strange = [one for one in values if one not in before[other].corners()]
            if before[other].kind != "choice" or strange or not values:
                raise SettingsError(
                    f"settings.{path}.when.{other}: give values of its list (kind choice), not {values}"
                )
        before[path] = domain
    space.search.check(space.settings)


Drawn = dict[str, Any]
"""Path of each setting of a trial to what was drawn for it."""


def drawn(space: Space, draw: Callable[[str, AnyDomain], Any]) -> Drawn:
    """One trial: `draw` is asked for each setting whose condition holds."""
    found: Drawn = {}
    for path, domain in space.settings.items():
        if _searched(domain, found):
            found[path] = draw(path, domain)
    return found


def _searched(domain: AnyDomain, found: Drawn) -> bool:
    return all(path in found and found[path] in values for path, values in domain.when.items())


def corners(space: Space) -> Iterator[Drawn]:
    """Every combination of extremes. Raises SettingsError where there are more than CORNERS."""
    found: list[Drawn] = [{}]
    for path, domain in space.settings.items():
        found = [
            one | more
            for one in found
            for more in ([{path: end} for end in domain.corners()] if _searched(domain, one) else [{}])
        ]
        if len(found) > CORNERS:
            raise SettingsError(f"settings: more than {CORNERS} corners; search fewer settings at once")
    yield from found


def mutated(space: Space, before: Drawn, random: Random) -> Drawn:
    """A neighbour of a trial, each setting moved within its bounds."""
    return {path: space.settings[path].mutated(value, random) for path, value in before.items()}


def applied(space: Space, recipe: Recipe, found: Drawn) -> Recipe:
    """The recipe of a trial. Raises SettingsError naming the trial where it is none."""
    for path, value in found.items():
        document = differences(recipe)
        _check_group(recipe, path)
        override(document, path, space.settings[path].setting(value, recipe))
        try:
            recipe = parse(Recipe, document)
        except SettingsError as error:
            told = ", ".join(f"{one} {drawn}" for one, drawn in found.items())
            raise SettingsError(f"{str(error).splitlines()[0]} (in a trial with {told})") from None
    return recipe


def resolved(recipe: Recipe, found: Drawn) -> Drawn:
    """The values in the recipe of a trial of what was drawn for it: m, say, where a staleness was drawn."""
    leaves = flatten(recipe)
    return {path: leaves.get(path, value) for path, value in found.items()}


def _check_group(recipe: Recipe, path: str) -> None:
    """What is searched below a task or a host that the recipe has not would make one, of defaults."""
    node: Any = recipe
    *parents, _ = path.split(".")
    for depth, name in enumerate(parents):
        node = getattr(node, name, None)
        if node is None:
            absent = ".".join(parents[: depth + 1])
            raise SettingsError(f"{path}: the recipe has no {absent}; give it one, or take this setting from the space")
