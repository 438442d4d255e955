"""The tasks of a model: one file each, with its settings, head and loss. They never import each other.

To add one: write `xmodal/tasks/x.py` with a settings class that has `weight` and `build(sizes)`, and give it a line in
`Tasks`.
"""

from typing import Any

from pydantic import model_validator
from torch import nn

from xmodal.settings import Settings
from xmodal.sizes import Sizes
from xmodal.tasks.anchor import Anchor
from xmodal.tasks.captioning import LM
from xmodal.tasks.consistency import Cons
from xmodal.tasks.contrastive import ITC
from xmodal.tasks.distil import Distil
from xmodal.tasks.entropy import EntropyPenalty
from xmodal.tasks.matching import ITM
from xmodal.tasks.resourcing import CCR
from xmodal.tasks.swapping import CCS
from xmodal.tasks.triplet import Triplet
from xmodal.tasks.unified import UTO


class Tasks(Settings):
    """Which tasks are trained; one that is absent, or of weight 0, is not built and costs nothing."""

    itc: ITC | None = ITC()
    """Image-text contrast."""
    itm: ITM | None = None
    """Image-text matching with hard negatives."""
    lm: LM | None = None
    """Captioning."""
    cons: Cons | None = None
    """Query vectors stay near the key vectors of the same input."""
    anchor: Anchor | None = None
    """Texts move towards the images of their species."""
    distil: Distil | None = None
    """The first samples pull the encoders towards a teacher."""
    uto: UTO | None = None
    """USER's unified training objective."""
    triplet: Triplet | None = None
    """Hard-negative triplets over the scores of `model.matcher`."""
    ccr: CCR | None = None
    """Contrastive content re-sourcing of the attention of `model.matcher`."""
    ccs: CCS | None = None
    """Contrastive content swapping of the attention of `model.matcher`."""
    entropy: EntropyPenalty | None = None
    """Entropy of the attention of `model.matcher`: the control for `ccr` and `ccs`."""

    @model_validator(mode="after")
    def _at_least_one(self) -> "Tasks":
        if not self.weights:
            allowed = ", ".join(type(self).model_fields)
            raise ValueError(f"a model needs at least one task of a weight above 0; allowed: {allowed}")
        return self

    @property
    def present(self) -> dict[str, Any]:
        """The tasks that are on, by name, in the order in which they run; one of weight 0 is not."""
        every = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: task for name, task in every.items() if task is not None and task.weight > 0}

    @property
    def weights(self) -> dict[str, float]:
        return {name: task.weight for name, task in self.present.items()}

    def build(self, sizes: Sizes) -> nn.ModuleDict:
        """The tasks by name."""
        return nn.ModuleDict({name: task.build(sizes) for name, task in self.present.items()})
