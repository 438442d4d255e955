"""What a search may give a setting: intervals, lists, and the forms in which momentum and queue are best searched.

A domain is drawn in a coordinate of its own (1 - m, or an age in steps), and `setting` says what that comes to in a
recipe. Mutations of population based training and the axes of the report are in that coordinate too.
"""

import math
from abc import ABC, abstractmethod
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pipelines.recipe import Recipe
from xmodal.settings import Settings

FACTORS = (0.8, 1.2)
"""Of a number that is mutated (Jaderberg et al., 2017)."""


class Domain(Settings, ABC):
    """What all have."""

    when: dict[str, list[Any]] = Field(default_factory=dict)
    """The setting is searched in trials alone in which each setting named here was drawn from its list; both stand in
    one space, that one before this. In other trials the recipe's value holds."""

    unit: ClassVar[str] = ""
    """What is drawn, where it is not the setting itself."""

    def setting(self, drawn: Any, recipe: Recipe) -> Any:
        """The recipe's value of what was drawn; `recipe` has all that was drawn before it."""
        return drawn

    @abstractmethod
    def draw(self, trial: Any, name: str) -> Any:
        """What an Optuna trial suggests."""

    @abstractmethod
    def corners(self) -> list[Any]:
        """The extremes."""

    @abstractmethod
    def mutated(self, drawn: Any, random: Random) -> Any:
        """A neighbour of what was drawn, within the bounds."""


class Interval(Domain):
    """Numbers from low to high, both included."""

    low: float
    """The least."""
    high: float
    """The greatest."""
    logarithmic: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    @model_validator(mode="after")
    def _ordered(self) -> "Interval":
        least = 0 if self.logarithmic else -math.inf
        if not least < self.bounds[0] < self.bounds[1]:
            beyond = " and above 0" if self.logarithmic else ""
            raise ValueError(f"low must be below high{beyond}, not {self.low:g} and {self.high:g}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Of what is drawn."""
        return (self.low, self.high)

    def draw(self, trial: Any, name: str) -> Any:
        if self.whole:
            return trial.suggest_int(name, *map(int, self.bounds), log=self.logarithmic)
        return trial.suggest_float(name, *self.bounds, log=self.logarithmic)

    def corners(self) -> list[Any]:
        return [int(one) if self.whole else one for one in self.bounds]

    def mutated(self, drawn: Any, random: Random) -> Any:
        low, high = self.bounds
        moved = min(max(drawn * random.choice(FACTORS), low), high)
        return round(moved) if self.whole else moved


class Uniform(Interval):
    """Any number alike."""

    kind: Literal["uniform"]


class LogUniform(Interval):
    """Any power alike: for scales."""

    kind: Literal["log_uniform"]
    logarithmic: ClassVar[bool] = True


class Integer(Interval):
    """Whole numbers, each alike."""

    kind: Literal["integer"]
    whole: ClassVar[bool] = True


class Choice(Domain):
    """One of a list."""

    kind: Literal["choice"]
    values: list[Any] = Field(min_length=2)
    """Any values a recipe takes there, `null` and mappings too."""

    def draw(self, trial: Any, name: str) -> Any:
        return self.values[trial.suggest_categorical(name, range(len(self.values)))]

    def corners(self) -> list[Any]:
        return self.values

    def mutated(self, drawn: Any, random: Random) -> Any:
        place = self.values.index(drawn) + random.choice((-1, 1))
        return self.values[min(max(place, 0), len(self.values) - 1)]


class OneMinus(Interval):
    """A number m close to 1, of which 1 - m is drawn log-uniformly: 0.9 to 0.99 is as wide as 0.99 to 0.999."""

    kind: Literal["one_minus"]
    unit: ClassVar[str] = "1 - m"
    logarithmic: ClassVar[bool] = True

    @property
    def bounds(self) -> tuple[float, float]:
        return (round(1 - self.high, 12), round(1 - self.low, 12))

    def setting(self, drawn: float, recipe: Recipe) -> float:
        return round(1 - drawn, 12)


class Age(Interval):
    """A queue by the age K / B in optimizer steps that its oldest keys reach, drawn log-uniformly."""

    kind: Literal["age"]
    unit: ClassVar[str] = "age in steps"
    logarithmic: ClassVar[bool] = True
    whole: ClassVar[bool] = True

    def setting(self, drawn: int, recipe: Recipe) -> int:
        return drawn * recipe.train.global_batch


class Staleness(Interval):
    """A momentum by the staleness S = 1 - m^(K / B) of the oldest keys in the queue: how far the key encoder moves
    while a key is stored. m = (1 - S)^(B / K), of the queue drawn before it or the recipe's own."""

    kind: Literal["staleness"]
    unit: ClassVar[str] = "staleness"

    def setting(self, drawn: float, recipe: Recipe) -> float:
        return (1 - drawn) ** (1 / max(1.0, recipe.model.queue.size / recipe.train.global_batch))


AnyDomain = Annotated[Uniform | LogUniform | Integer | Choice | OneMinus | Age | Staleness, Field(discriminator="kind")]
