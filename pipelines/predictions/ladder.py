"""The taxa that a model can name at every rank, and how sure it is of each: the shares of their species together."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipelines.prepare.attributes import rank_values
from pipelines.prepare.language import language
from pipelines.taxa import species_texts
from xmodal.inference import Inference
from xmodal.metrics.calibration import softmax
from xmodal.metrics.classification import RANKS

Array = NDArray[np.float64]
ANIMAL, BLANK = "animal", "blank"
RUNGS = (*RANKS, ANIMAL)
"""What an animal can be called, from the narrowest on: `animal` is one that nobody names."""
FINDINGS = (*RUNGS, BLANK)
"""All that an answer can be, but for the one that is left to people."""


@dataclass(frozen=True)
class Ladder:
    """C species, and the empty frame where training showed some."""

    species: tuple[str, ...]
    """Sorted, as `pipelines.taxa.species_key` names them."""
    taxa: Mapping[str, Mapping[str, Any]]
    """Species to taxon fact."""
    blank: bool
    """Whether there is a class for empty frames: the last one."""

    @classmethod
    def of(cls, taxa: Mapping[str, Mapping[str, Any]], blank: bool) -> "Ladder":
        return cls(tuple(sorted(taxa)), taxa, blank)

    def texts(self, code: str) -> list[list[str]]:
        """Texts of each class in a language."""
        named = [species_texts(dict(self.taxa[name]), code) for name in self.species]
        return [*named, language(code).words["blank"]] if self.blank else named

    def class_vectors(self, model: Inference, code: str) -> Tensor:
        """(C, D), or (C + 1, D) with the empty frame."""
        return model.class_vectors(self.texts(code))

    def steps(self, species: str) -> dict[str, str]:
        """Rank to name of a species, its own included; a common name is one at the rank of species alone."""
        return {**rank_values(self.taxa[species]), "species": species}

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Rank to the taxa at it, sorted."""
        every = [self.steps(one) for one in self.species]
        return {rank: tuple(sorted({one[rank] for one in every if rank in one})) for rank in RANKS}

    @cached_property
    def _members(self) -> dict[str, Array]:
        """Rank to (C, T): 1 where the species belongs to the taxon."""
        every = [self.steps(one) for one in self.species]
        return {
            rank: np.array([[one.get(rank) == name for name in names] for one in every], float).reshape(len(every), -1)
            for rank, names in self.names.items()
        }

    def probabilities(self, similarities: Array, temperature: float) -> Array:
        """(N, C + 1) of similarities with `class_vectors`; the last column is that of an empty frame, 0 without one."""
        found = softmax(similarities, temperature)
        return found if self.blank else np.pad(found, ((0, 0), (0, 1)))

    def best(self, probabilities: Array, rung: str) -> tuple[NDArray[np.int64], Array]:
        """(N,) the surest taxon of a rung, a position in `names`, and how sure it is; 0 and 0 where there is none."""
        if rung in (ANIMAL, BLANK):
            empty = probabilities[:, -1]
            return np.zeros(len(empty), np.int64), empty if rung == BLANK else 1 - empty
        if not self.names[rung]:
            return np.zeros(len(probabilities), np.int64), np.zeros(len(probabilities))
        shares = probabilities[:, :-1] @ self._members[rung]
        return shares.argmax(1), np.minimum(shares.max(1), 1.0)

    def name(self, rung: str, position: int) -> str:
        """What an answer at a rung says; "" for those that are no taxon."""
        return self.names[rung][position] if rung in RANKS else ""

    def lineage(self, rung: str, name: str) -> dict[str, str]:
        """Rank to name of a taxon and of those above it; nothing of one that is none of its own."""
        if rung not in RANKS:
            return {}
        ladder = next((one for one in map(self.steps, self.species) if one.get(rung) == name), {})
        return {rank: ladder[rank] for rank in RANKS[RANKS.index(rung) :] if rank in ladder}
