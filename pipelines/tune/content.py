"""The page of a sweep as plain data: the first screen, and the sections in the order in which they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

from pipelines.health.content import Card
from pipelines.recipe import Recipe
from pipelines.report.formats import count
from pipelines.report.sections import About, Section
from pipelines.tune.axes import LEAST, Axis, Importance, axes, importances
from pipelines.tune.best import best_recipe
from pipelines.tune.charts import curves, parallel
from pipelines.tune.outcome import Outcome, ranked, value
from pipelines.tune.space import resolved
from pipelines.tune.sweep import Sweep


@dataclass(frozen=True)
class Trials(Section):
    """Every trial with what was drawn for it, as lines and as rows."""

    anchor: ClassVar[str] = "trials"
    title: ClassVar[str] = "Trials"
    lead: ClassVar[str] = (
        "A line a trial. The best is thick; dashed ones were stopped at a rung. Without a dot: not searched there."
    )
    template: ClassVar[str] = "tune/trials.html.j2"

    chart: Any
    heads: Sequence[str]
    rows: Sequence[tuple[Outcome, Sequence[str]]]

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True)
class Matters(Section):
    """How much each setting explains."""

    anchor: ClassVar[str] = "importance"
    title: ClassVar[str] = "What mattered"
    lead: ClassVar[str] = (
        "The share of the scores' order that a setting explains alone, beside what one that does nothing would."
    )
    template: ClassVar[str] = "tune/importance.html.j2"

    step: int
    found: Sequence[Importance]
    trials: int

    def __bool__(self) -> bool:
        return bool(self.found)


@dataclass(frozen=True)
class Learning(Section):
    """Validation scores over steps."""

    anchor: ClassVar[str] = "curves"
    title: ClassVar[str] = "Learning curves"
    lead: ClassVar[str] = "The score on the validation split, which no weight under search has a part in."
    template: ClassVar[str] = "tune/curves.html.j2"

    chart: Any
    outcomes: Sequence[Outcome]

    def __bool__(self) -> bool:
        return bool(self.outcomes)


@dataclass(frozen=True)
class Changes(Section):
    """The schedule that a population found."""

    anchor: ClassVar[str] = "schedule"
    title: ClassVar[str] = "The best trial's schedule"
    lead: ClassVar[str] = "Values changed where the trial went on from the weights of a better one."
    template: ClassVar[str] = "tune/schedule.html.j2"

    heads: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str]]]

    def __bool__(self) -> bool:
        return len(self.rows) > 1


@dataclass(frozen=True)
class SweepContent:
    """The page."""

    kicker: ClassVar[str] = "Sweep"
    cards: ClassVar[str] = "health/cards.html.j2"

    title: str
    subtitle: str
    verdict: str
    generated: bool
    headline: Sequence[Card]
    parts: Sequence[Section]

    @property
    def sections(self) -> Sequence[Section]:
        return [part for part in self.parts if part]


def content(sweep: Sweep, recipe: Recipe, outcomes: Sequence[Outcome], spent: float, grace: int) -> SweepContent:
    """Of a sweep at least one of whose trials has a score. `spent` in device-seconds."""
    scored = ranked([one for one in outcomes if one.curve])
    first, paths = scored[0], list(sweep.space.settings)
    lines: list[Axis] = axes(sweep.space.settings, scored)
    step, found = importances(sweep.space.settings, scored)
    rows = [(one, _cells(paths, one.values)) for one in ranked(outcomes)]
    schedule = [(at, _cells(paths, resolved(sweep.trial(drawn), drawn))) for at, drawn in first.schedule]
    return SweepContent(
        title=f"{recipe.name}: {sweep.space.description or sweep.name}",
        subtitle=f"Sweep {sweep.name}, {sweep.space.search.kind} over {_listed(paths)}",
        verdict=_verdict(scored, outcomes, first, found),
        generated=recipe.data.generated,
        headline=_cards(outcomes, scored, first, spent),
        parts=(
            Trials(parallel(lines, scored, first), paths, rows),
            Matters(step, found, len(scored)),
            Learning(curves(scored, first, grace), scored),
            Changes(paths, schedule),
            _about(sweep, recipe, first),
        ),
    )


def _cells(paths: Sequence[str], found: dict[str, Any]) -> list[str]:
    return [value(found[path]) if path in found else "" for path in paths]


def _listed(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{', '.join(paths[:-1])} and {paths[-1]}"


def _verdict(
    scored: Sequence[Outcome], outcomes: Sequence[Outcome], first: Outcome, found: Sequence[Importance]
) -> str:
    spread = sorted(one.best for one in scored)
    start = f"The best of {count(len(outcomes))} trials has a validation score of {first.best:.2f}"
    start += f"; the middle one has {spread[len(spread) // 2]:.2f}." if len(spread) > 2 else "."
    if not found:
        return f"{start} With fewer than {LEAST} trials nothing can be said of what mattered."
    sure = [one for one in found if one.low > one.chance]
    if not sure:
        return f"{start} No setting explains more of the order than chance might: a second sweep may end elsewhere."
    return f"{start} {sure[0].path} explains most of the order: scores {sure[0].where}."


def _cards(outcomes: Sequence[Outcome], scored: Sequence[Outcome], first: Outcome, spent: float) -> list[Card]:
    complete = sum(one.state == "complete" for one in outcomes)
    stopped = sum(one.state == "stopped" for one in outcomes)
    failed = sum(one.state in ("failed", "crashed") for one in outcomes)
    steps, whole = sum(one.step for one in outcomes), sum(one.steps for one in scored)
    share = 100 * steps / whole if whole else 0.0
    return [
        Card("Best validation score", f"{first.best:.1f}", f"trial {first.trial}", f"at {count(first.step)} steps"),
        Card("Trials complete", count(complete), f"of {count(len(outcomes))}", f"{stopped} stopped, {failed} failed"),
        Card("Steps trained", count(steps), f"of {count(whole)}", "had none been stopped", share),
        Card("Device-hours", f"{spent / 3600:.2f}", "GPUs, or CPUs where there are none", "waiting included"),
    ]


def _about(sweep: Sweep, recipe: Recipe, first: Outcome) -> About:
    return About(
        intended_use=("Choosing settings for a run, and seeing which of them deserve a closer search.",),
        limits=(
            "One seed a trial: another seed moves a score, often by as much as neighbours differ.",
            "The best of many is flattered by the choice; judge it on the test split, which no trial has seen.",
            "Importance looks at one setting at a time, and at the last step that all trials reached.",
            "Trials that were stopped are not known to be worse in the end.",
        ),
        recipe=best_recipe(sweep, recipe, first),
        versions={"xmodal": version("xmodal"), "sweep": sweep.name, "dataset": f"{recipe.data.name}"},
    )
