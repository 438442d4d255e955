"""What an open_clip model is: `open_clip_config.json` read into the configuration of a CLIP model of the same geometry.

The layout is that of open_clip 2 and 3 (`push_to_hf_hub`): `model_cfg` with embed_dim, vision_cfg, text_cfg, and
`preprocess_cfg`. Taken are plain vision transformers and plain causal text transformers: what BioCLIP, the LAION and
the OpenAI models are. Anything that would change the computation is refused by name, an unknown word included.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from xmodal.settings import SettingsError

if TYPE_CHECKING:
    from transformers import CLIPTextConfig, CLIPVisionConfig

ARGMAX_END = 2
"""End id by which a Hugging Face CLIP takes the place of the highest id, as open_clip's pool_type argmax does."""


class _Read(BaseModel):
    """Fields whose type allows one value only are those that another value of would change the computation."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Norm(_Read):
    """Keyword arguments of the layer norms."""

    eps: float = 1e-5


class Transformer(_Read):
    """What both towers may say."""

    width: int
    layers: int
    mlp_ratio: float = 4.0
    norm_kwargs: Norm | None = None
    ls_init_value: None = None
    act_kwargs: None = None
    block_type: Literal["default"] | None = None
    qk_norm: Literal[False] = False
    scaled_cosine_attn: Literal[False] = False
    scale_heads: Literal[False] = False
    scale_attn_inner: Literal[False] = False
    scale_attn: Literal[False] = False
    scale_fc: Literal[False] = False
    output_tokens: bool = False

    def shared(self, heads: int, quick_gelu: bool) -> dict[str, Any]:
        """What the configurations of both CLIP towers have in common."""
        return {
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": heads,
            "intermediate_size": int(self.width * self.mlp_ratio),
            "hidden_act": "quick_gelu" if quick_gelu else "gelu",
            "layer_norm_eps": (self.norm_kwargs or Norm()).eps,
        }


class Vision(Transformer):
    """vision_cfg, with open_clip's defaults."""

    width: int = 768
    layers: int = 12
    head_width: int = 64
    patch_size: int = 16
    image_size: int = 224
    patch_dropout: float = 0.0
    attentional_pool: Literal[False] = False
    attn_pooler_queries: int = 256
    attn_pooler_heads: int = 8
    no_ln_pre: Literal[False] = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"
    final_ln_after_pool: bool = False
    pool_type: Literal["tok"] = "tok"
    timm_model_name: Literal[""] | None = None
    timm_model_pretrained: bool = False
    timm_pool: str = ""
    timm_proj: str = ""
    timm_proj_bias: bool = False
    timm_drop: float = 0.0
    timm_drop_path: float | None = None


class Text(Transformer):
    """text_cfg, with open_clip's defaults."""

    width: int = 512
    heads: int = 8
    layers: int = 12
    context_length: int = 77
    vocab_size: int = 49408
    hf_tokenizer_name: str | None = None
    tokenizer_mode: Literal[""] | None = None
    tokenizer_kwargs: None = None
    embed_cls: Literal[False] = False
    pad_id: int = 0
    eos_id: int = 2
    no_causal_mask: Literal[False] = False
    final_ln_after_pool: bool = False
    pool_type: Literal["argmax", "eos"] = "argmax"
    proj_bias: Literal[False] = False
    proj_type: Literal["linear"] = "linear"
    hf_model_name: Literal[""] | None = None
    hf_model_pretrained: bool = True
    hf_proj_type: str = ""
    hf_pooler_type: str = ""


class Model(_Read):
    """model_cfg."""

    embed_dim: int
    vision_cfg: Vision
    text_cfg: Text
    quick_gelu: bool = False
    init_logit_scale: float = 0.0
    init_logit_bias: float | None = None
    nonscalar_logit_scale: bool = False
    custom_text: bool = False
    multimodal_cfg: None = None

    def vision(self) -> "CLIPVisionConfig":
        """The image tower's configuration."""
        from transformers import CLIPVisionConfig

        tower = self.vision_cfg
        return CLIPVisionConfig(
            **tower.shared(tower.width // tower.head_width, self.quick_gelu),
            projection_dim=self.embed_dim,
            image_size=tower.image_size,
            patch_size=tower.patch_size,
        )

    def text(self) -> "CLIPTextConfig":
        """The text tower's configuration."""
        from transformers import CLIPTextConfig

        tower = self.text_cfg
        return CLIPTextConfig(
            **tower.shared(tower.heads, self.quick_gelu),
            projection_dim=self.embed_dim,
            vocab_size=tower.vocab_size,
            max_position_embeddings=tower.context_length,
            pad_token_id=tower.pad_id,
            bos_token_id=None,
            eos_token_id=ARGMAX_END if tower.pool_type == "argmax" else tower.eos_id,
        )


class Preprocess(BaseModel):
    """preprocess_cfg; images come from `prepare` as squares, so its words about cropping do not matter."""

    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


class Document(BaseModel):
    """The whole file."""

    model_config = ConfigDict(protected_namespaces=())

    model_cfg: Model
    preprocess_cfg: Preprocess = Preprocess()


def read(file: Path) -> Document:
    """The document in `file`. Raises SettingsError, in one line, for what is no plain CLIP of two transformers."""
    try:
        document = Document.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise SettingsError(f"path: {file} is not valid JSON") from None
    except ValidationError as error:
        raise SettingsError(f"path: {file}: {_refused(error)}") from None
    text = document.model_cfg.text_cfg
    if text.pool_type == "eos" and text.eos_id == ARGMAX_END:
        raise SettingsError(f"path: {file}: text_cfg.eos_id 2 with pool_type eos is not supported")
    return document


def _refused(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"] if part != "model_cfg" and not _is_type(part)) or "model_cfg"
    if fault["type"] == "missing":
        return f"{where} is missing"
    return (
        f"{where} {fault['input']!r} is not supported; taken are plain vision transformers and causal text "
        "transformers (no timm, Hugging Face or convolutional towers, no CoCa)"
    )


def _is_type(part: int | str) -> bool:
    """Pydantic writes the branch of a union into the location."""
    return isinstance(part, str) and (part in ("none", "Norm") or part.startswith("literal["))
