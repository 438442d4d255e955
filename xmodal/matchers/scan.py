"""SCAN, stacked cross attention (Lee et al., ECCV 2018): words attend to regions (t2i) or regions to words (i2t).

S(image, caption) = Agg_i cos(q_i, a_i),   a_i = sum_j w_ij k_j      with the base attention of `attention`
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.matchers.aggregation import AggregationName, aggregation
from xmodal.matchers.attention import NORMS, NormName
from xmodal.matchers.crossing import CROSSINGS
from xmodal.matchers.matcher import Matcher
from xmodal.matchers.settings import HostSettings
from xmodal.matchers.sides import Side, dots
from xmodal.sizes import Sizes

SHARPNESS = {"t2i": 9.0, "i2t": 4.0}
LSE = {"t2i": 6.0, "i2t": 5.0}


class SCAN(HostSettings):
    """Stacked cross attention in one direction."""

    kind: Literal["scan"]
    direction: Literal["t2i", "i2t"] = "t2i"
    """Who attends: t2i = words attend to regions."""
    aggregation: AggregationName = "mean"
    """From relevances to the score of a pair."""
    norm: NormName = "clipped_l2norm"
    """What is done to raw scores before the softmax (`raw_feature_norm`)."""
    lambda_softmax: float | None = Field(default=None, gt=0)
    """Sharpness of the softmax over keys; absent = the release's 9 (t2i) or 4 (i2t)."""
    lambda_lse: float | None = Field(default=None, gt=0)
    """Sharpness of logsumexp; absent = the release's 6 (t2i) or 5 (i2t; 20 on COCO)."""

    def build(self, sizes: Sizes, tasks: nn.ModuleDict) -> "Scan":
        return Scan(self, sizes.image_width, sizes.text_width)


class Scan(Matcher):
    """The host."""

    def __init__(self, settings: SCAN, image_width: int, text_width: int):
        sharpness = settings.lambda_softmax or SHARPNESS[settings.direction]
        crossing = CROSSINGS[settings.direction](NORMS[settings.norm], sharpness)
        super().__init__(settings, image_width, text_width, [crossing])
        self.aggregate = aggregation(settings.aggregation, settings.lambda_lse or LSE[settings.direction])

    def block(self, image: Side, text: Side) -> Tensor:
        (crossing,), scores = self.crossings, dots(image, text)
        r = crossing.cosines(scores, crossing.weights(scores, image, text), image, text)
        return self.aggregate(r, crossing.query_mask(image, text))
