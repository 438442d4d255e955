"""Anchoring of ambiguous texts around image features that do not move with them.

    L_anchor = 1 - <e_i, c_{y_i}>,    c_s = norm(mean of the valid image keys of the queue whose code is s)

for texts whose code y_i of one attribute (the species) is stated, and codes with at least n_min rows in the queue. The
prototypes carry no gradient: texts move to images, not the reverse. A documented reading of ReCap's "align ambiguous
text around invariant image features" (Tao et al., Sensors 2024); the other half of it is `tasks.itc.i2t_weight` below
one half.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.distributed import global_mean
from xmodal.encodings import Encodings
from xmodal.queue import Keys
from xmodal.settings import Settings, SettingsError
from xmodal.sizes import Sizes


class Anchor(Settings):
    """Anchoring task."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the loss in the total; 0 = without it."""
    attribute: int = Field(default=5, ge=0)
    """Position of the attribute whose values have prototypes; in datasets of `xmodal prepare` 5 is the species."""
    n_min: int = Field(default=8, ge=1)
    """Rows of the queue that a value needs before it has a prototype."""

    def build(self, sizes: Sizes) -> "Anchoring":
        if self.attribute >= sizes.attributes:
            raise SettingsError(
                f"model.tasks.anchor.attribute: {self.attribute}, this dataset has attributes 0 to "
                f"{sizes.attributes - 1}"
            )
        return Anchoring(self.attribute, self.n_min)


class Anchoring(nn.Module):
    """The task; it has no parameters."""

    def __init__(self, attribute: int, n_min: int):
        super().__init__()
        self.attribute, self.n_min = attribute, n_min

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global mean over rows whose text has a prototype, a scalar; 0 where none has."""
        prototypes, held = self._prototypes(encodings.batch.text_codes[:, self.attribute], encodings.queue.keys)
        apart = 1 - (encodings.text * prototypes).sum(1)
        return global_mean(apart, held & encodings.batch.valid)

    @torch.no_grad()
    def _prototypes(self, stated: Tensor, keys: Keys) -> tuple[Tensor, Tensor]:
        """(B,) codes -> (B, D) unit vectors and whether there are enough rows behind each."""
        same = (stated[:, None] == keys.image_codes[:, self.attribute][None]) & keys.valid[None]
        same = same & (stated >= 0)[:, None]
        with torch.autocast(keys.image.device.type, enabled=False):
            return normalize(same.float() @ keys.image.float(), dim=1), same.sum(1) >= self.n_min
