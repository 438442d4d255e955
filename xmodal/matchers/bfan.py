"""BFAN, bidirectional focal attention (Liu et al., ACM MM 2019): both directions, each refocused on relevant keys.

    S(image, caption) = mean_words cos(q_i, a_i) + mean_regions cos(q_i, a_i)

Both directions share one product of all regions with all words. `attention.focal_equal` and `focal_prob` are the two
focal steps; the published ensemble adds the scores of a model of each.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.matchers.aggregation import mean
from xmodal.matchers.attention import FOCUS, NORMS
from xmodal.matchers.crossing import ImageToText, TextToImage
from xmodal.matchers.matcher import Matcher
from xmodal.matchers.settings import HostSettings
from xmodal.matchers.sides import Side, dots
from xmodal.sizes import Sizes


class BFAN(HostSettings):
    """Bidirectional focal attention."""

    kind: Literal["bfan"]
    focal: Literal["equal", "prob"] = "equal"
    """How a key's relevance is judged: against the mean weight, or against weights by their confidence."""
    lambda_softmax: float = Field(default=20.0, gt=0)
    """Sharpness of the softmax over keys."""

    def build(self, sizes: Sizes, tasks: nn.ModuleDict) -> "Bfan":
        return Bfan(self, sizes.image_width, sizes.text_width)


class Bfan(Matcher):
    """The host."""

    def __init__(self, settings: BFAN, image_width: int, text_width: int):
        made = (NORMS["clipped_l2norm"], settings.lambda_softmax, FOCUS[settings.focal])
        super().__init__(settings, image_width, text_width, [TextToImage(*made), ImageToText(*made)])

    def block(self, image: Side, text: Side) -> Tensor:
        scores = dots(image, text)
        t2i, i2t = (
            mean(one.cosines(scores, one.weights(scores, image, text), image, text), one.query_mask(image, text))
            for one in self.crossings
        )
        return t2i + i2t
