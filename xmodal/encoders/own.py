"""The embedding that a pretrained model itself makes of an image or a text (`pool: own`).

Of a model with both towers it is the point in their shared space: of CLIP the projected class token and the projected
end token, of SigLIP its attention head's output and the projected last place. Of a model with one tower it is what its
pooler makes, of DINOv2 the class token. With `head: {kind: identity}` an untrained model is then the pretrained one.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from xmodal.encoders.hub import Part, width_of
from xmodal.settings import SettingsError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MADE = {"vision": ("image_embeds", "pooler_output"), "text": ("text_embeds", "pooler_output")}
ASKED = {"vision": "get_image_features", "text": "get_text_features"}
OF_THE_OTHER = {"vision": ("text_model", "text_projection"), "text": ("vision_model", "visual_projection")}


def embedding(model: nn.Module, part: Part, **inputs: Tensor) -> Tensor:
    """(B, D) of the model's inputs. Raises SettingsError for a model that makes no embedding."""
    made: Any = getattr(model, ASKED[part], model)(**inputs)
    for name in MADE[part]:
        if getattr(made, name, None) is not None:
            return made[name].flatten(1)
    raise SettingsError(f"pool: {type(model).__name__} makes no embedding of its own; allowed: tokens, mean")


def alone(model: nn.Module, part: Part) -> nn.Module:
    """`model` without the modules that only its other tower uses; a model with one tower as it is."""
    for name in OF_THE_OTHER[part]:
        if hasattr(model, ASKED[part]) and hasattr(model, name):
            delattr(model, name)
    return model


def embedding_width(whole: "PretrainedConfig", tower: "PretrainedConfig") -> int:
    """Width of the embedding (D), of the configurations of the whole model and of the tower that makes it."""
    shared = getattr(whole, "projection_dim", None) if whole is not tower else None
    return shared or getattr(tower, "projection_size", None) or width_of(tower)


def check_whole(path: str, missing: list[str]) -> None:
    """Raises SettingsError where weights that an embedding may need are not in the model's files."""
    if missing:
        raise SettingsError(
            f"pool: the weights of {path!r} lack {missing[0]}, so they make no embedding; allowed: tokens, mean"
        )
