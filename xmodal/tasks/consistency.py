"""Consistency of the query encoder with its own average, on the same input.

    L_cons = 1/2 [(1 - <f, sg f^m>) + (1 - <e, sg e^m>)]

One of three devices by which this project reads "consistency during momentum updates" in ReCap's abstract (Tao et al.,
Sensors 2024; a documented reading, see docs/method.md). It needs no labels and no queue: a query encoder that stays
near its average cannot move so fast that stored keys tell when they were written.
"""

from pydantic import Field
from torch import Tensor, nn

from xmodal.distributed import share_of_mean
from xmodal.encodings import Encodings
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class Cons(Settings):
    """Consistency task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""

    def build(self, sizes: Sizes) -> "Consistency":
        return Consistency()


class Consistency(nn.Module):
    """The task; it has no parameters."""

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over valid rows, a scalar in 0..2."""
        keys = encodings.keys
        agreement = (encodings.image * keys.image).sum(1) + (encodings.text * keys.text).sum(1)
        return share_of_mean(1 - agreement / 2, encodings.batch.valid, encodings.count)
