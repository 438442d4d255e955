"""CGE, the CLIP-guided enhancement of USER (Zhang et al., IEEE TIP 33, 2024): a documented reconstruction.

    r'_i = r_i + p~_i g,   g = l2norm(W_c c)     c the image's vector of a frozen CLIP, extracted once

The released code holds none of it but the name of a parameter, `clip_emb`, in the step that SGE ends with; so this is
that step with g in place of SGE's own vector. Where SGE follows in the list, it sees the tokens that CGE has enhanced.

The guide travels as the last token of the image, in its first `guide_width` numbers: encoders of kind `guided` and
`precomputed` put it there, `prepare` caches it with the features, and this enhancer takes it off.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from xmodal.enhance.guided import towards, unit
from xmodal.enhance.settings import EnhanceSettings
from xmodal.settings import SettingsError


class ClipGuided(EnhanceSettings):
    """Tokens enhanced by a frozen model's vector of the image (CGE)."""

    kind: Literal["clip_guided"]
    guide_width: int = Field(default=512, ge=1)
    """Numbers of the guide's vector (CLIP ViT-B 512): those of the image encoder's guide."""
    sharpness: float = Field(default=1.0, gt=0)
    """lambda, factor of the similarities before the softmax over tokens."""

    def build(self, width: int) -> "ClipGuidedEnhancer":
        if self.guide_width > width:
            raise SettingsError(
                f"image_enhance: a guide of {self.guide_width} numbers does not fit into a token of {width}"
            )
        return ClipGuidedEnhancer(width, self.guide_width, self.sharpness)


class ClipGuidedEnhancer(nn.Module):
    """(B, T + 1, W), the last token the guide -> (B, T, W)."""

    def __init__(self, width: int, guide_width: int, sharpness: float):
        super().__init__()
        self.guide_width, self.sharpness = guide_width, sharpness
        self.raised = nn.Linear(guide_width, width, bias=False)
        nn.init.xavier_uniform_(self.raised.weight)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        guide = unit(self.raised(tokens[:, -1, : self.guide_width]))
        return towards(tokens[:, :-1], mask[:, :-1], guide, self.sharpness)

    def metrics(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}
