"""Who passes which camera when: the plan of the generated survey, before anything is drawn."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from pipelines.demo.species import Species

Behaviour = Literal["walking", "foraging", "vigilance"]
SUMMER = timedelta(hours=2)
"""UTC offset of the whole survey: it runs inside one daylight-saving period."""
_FIRST_DAY = datetime(2025, 4, 5)


@dataclass(frozen=True)
class Individual:
    """One animal of a visit; `male` is also drawn, `stated` says whether the archive knows sex and age."""

    male: bool
    juvenile: bool
    behaviour: Behaviour
    stated: bool


@dataclass(frozen=True)
class Visit:
    """One event: a burst of frames of one subject at one place. `start` is local wall time."""

    event_id: str
    place: int
    start: datetime
    frames: int
    dark: bool
    subject: Literal["animal", "human", "blank"]
    species: int  # position in the survey's species; -1 for people and blanks
    individuals: tuple[Individual, ...]
    labelled_by_event: bool  # only the event carries a label, its frames do not
    leaves_early: bool  # the last frame is empty


@dataclass(frozen=True)
class Frame:
    """One file; `number` counts the survey's frames, `position` those of the visit."""

    visit: Visit
    number: int
    position: int
    key: str

    @property
    def moment(self) -> datetime:
        return self.visit.start + timedelta(seconds=2 * self.position)

    @property
    def occupied(self) -> bool:
        last = self.position == self.visit.frames - 1
        return self.visit.subject != "blank" and not (last and self.visit.leaves_early)


def plan(species: tuple[Species, ...], places: int, frames: int, seed: int) -> list[Frame]:
    """All frames by place and time. Species shares fall like 1/rank; each place has its own skewed mix of them.

    The first visit to a place is paid by the species whose turn it is, so that each is met at several places; to every
    fourth place the second one brings people.
    """
    shares = np.random.default_rng([seed, 1]).gamma(3, 1, places)
    ends = np.round(np.cumsum(shares) / shares.sum() * (frames - 3 * places)).astype(int)
    counts = np.diff(ends, prepend=0) + 3
    planned: list[Frame] = []
    for place in range(places):
        rng = np.random.default_rng([seed, 2, place])
        visits = _place_visits(species, place, int(counts[place]), rng)
        pictures = [(visit, position) for visit in visits for position in range(visit.frames)]
        for index, (visit, position) in enumerate(pictures, start=1):
            key = f"images/{place_name(place)}/IMG_{index:04d}.JPG"
            planned.append(Frame(visit, len(planned), position, key))
    return planned


def place_name(place: int) -> str:
    return f"place-{place + 1:02d}"


def _place_visits(species: tuple[Species, ...], place: int, frames: int, rng: np.random.Generator) -> list[Visit]:
    mix = rng.gamma(0.6, 1, len(species)) / np.arange(1, len(species) + 1)
    mix = mix / mix.sum()
    drawn: list[Visit] = []
    left = frames
    while left:
        first = place % len(species) if not drawn else None
        visit = _visit(species, place, len(drawn), min(left, int(rng.integers(1, 5))), first, mix, rng)
        drawn.append(visit)
        left -= visit.frames
    return sorted(drawn, key=lambda visit: visit.start)


def _visit(
    species: tuple[Species, ...],
    place: int,
    number: int,
    frames: int,
    first: int | None,
    mix: np.ndarray,
    rng: np.random.Generator,
) -> Visit:
    subject: Literal["animal", "human", "blank"] = "animal"
    chance = rng.random()
    if first is None and (chance < 0.24 or (number == 1 and place % 4 == 1)):
        subject = "blank" if chance < 0.19 and number != 1 else "human"
    kind = int(rng.choice(len(species), p=mix)) if first is None else first
    night = {"animal": species[kind].night, "human": 0.05, "blank": 0.4}[subject]
    dark = bool(rng.random() < night)
    animal = subject == "animal"
    return Visit(
        event_id=f"{place_name(place)}-{number:04d}",
        place=place,
        start=_time(dark, rng),
        frames=frames,
        dark=dark,
        subject=subject,
        species=kind if animal else -1,
        individuals=_individuals(species[kind], rng) if animal else (),
        labelled_by_event=bool(animal and frames > 1 and rng.random() < 0.12),
        leaves_early=bool(animal and frames > 2 and rng.random() < 0.15),
    )


def _time(dark: bool, rng: np.random.Generator) -> datetime:
    hour = (21 + int(rng.integers(0, 8))) % 24 if dark else int(rng.integers(6, 20))
    day = timedelta(days=int(rng.integers(0, 150)))
    return _FIRST_DAY + day + timedelta(hours=hour, minutes=int(rng.integers(60)), seconds=int(rng.integers(50)))


def _individuals(species: Species, rng: np.random.Generator) -> tuple[Individual, ...]:
    count = int(rng.choice([1, 1, 1, 1, 2, 2, 3])) if species.shape.feet == 4 else int(rng.integers(1, 3))
    behaviour: Behaviour = ("walking", "walking", "foraging", "vigilance")[rng.integers(4)]
    stated = bool(rng.random() < 0.6)
    return tuple(
        Individual(bool(rng.random() < 0.5), bool(member > 0 and rng.random() < 0.6), behaviour, stated)
        for member in range(count)
    )
