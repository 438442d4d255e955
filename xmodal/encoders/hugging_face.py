"""Any Hugging Face vision model as an image encoder, and what it shares with the text encoder.

By folder, hub id, installed package, or a configuration without weights (then drawn at random). Of a model with both
towers (CLIP, SigLIP ...) the one that is asked for is taken.
"""

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator
from torch import nn

from xmodal.encoders import hub, own
from xmodal.encoders.towers import FrozenImage, TrainedImage
from xmodal.encoders.vision_backbone import VisionBackbone, configured_size, image_encoder, stated_size
from xmodal.settings import Settings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NORMALISATION = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


class HuggingFace(Settings):
    """What the vision and the text encoder share."""

    kind: Literal["hugging_face"]
    path: str | None = None
    """Folder of a saved model, hub id, or package:NAME for an installed Python package that carries a model folder.
    Without network the hub answers after half a minute of retries; HF_HUB_OFFLINE=1 makes it at once."""
    config: dict[str, Any] | str | None = None
    """Instead of `path`: a configuration (a mapping with model_type) or a folder with one; weights are drawn."""
    frozen: bool = True
    """True: not trained, its output is computed once by `prepare` and cached with the dataset."""
    pool: Literal["tokens", "mean", "own"] = "tokens"
    """tokens: every output token; mean: one token, their mean over the valid places; own: one token, the embedding that
    the model itself makes (CLIP, SigLIP: its point in their shared space; DINOv2: the class token)."""

    @model_validator(mode="after")
    def _one_source(self) -> "HuggingFace":
        if (self.path is None) == (self.config is None):
            raise ValueError("hugging_face: give either path or config")
        return self

    @property
    def source(self) -> str:
        """Folder or hub id; raises SettingsError where there is none."""
        return hub.resolve(self.path or str(self.config))

    def whole_config(self) -> "PretrainedConfig":
        """The configuration of the whole model, both towers where it has them. Raises SettingsError."""
        return hub.config_of(self.config) if isinstance(self.config, dict) else hub.read_config(self.source)

    def width(self, part: hub.Part) -> int:
        """Width of the tokens (D). Raises SettingsError."""
        whole = self.whole_config()
        tower = hub.part_config(whole, part)
        return own.embedding_width(whole, tower) if self.pool == "own" else hub.width_of(tower)

    def model(self, config: "PretrainedConfig", part: hub.Part) -> nn.Module:
        """What makes the tokens, with the weights that the settings name; `config` is used where they are drawn."""
        model, missing = hub.load_weights(self.source) if self.path else (hub.random_weights(config), [])
        if self.pool != "own":
            return hub.tower(model, part)
        own.check_whole(str(self.path), missing)
        return own.alone(model, part)


class HuggingFaceVision(HuggingFace):
    """A vision model; its last hidden state becomes the tokens, a class token among them where it has one."""

    normalisation: Literal["imagenet", "half"] = "imagenet"
    """Mean and deviation for a model that brings no preprocessor_config.json; half: both 0.5."""

    def build(self) -> FrozenImage | TrainedImage:
        """Raises SettingsError where the model cannot be had."""
        size, other = self.image_size()
        facts = str(self.mean_and_deviation()) + (f" {size}" if other else "")
        return image_encoder(self, self.frozen, self.width("vision"), self.backbone, facts)

    def backbone(self) -> VisionBackbone:
        """The model with the weights that the settings name."""
        model = self.model(self.whole_config(), "vision")
        return VisionBackbone(model, self.image_size()[0], *self.mean_and_deviation(), self.pool)

    def image_size(self) -> tuple[tuple[int, int], bool]:
        """(H, W) that images are resized to, and whether it is another than the model's configuration names.

        What preprocessor_config.json states goes first: DINOv2's configuration names the 518 pixels of its last
        training phase, its preprocessor the 224 that it is used with.
        """
        built_for = configured_size(hub.part_config(self.whole_config(), "vision"))
        size = stated_size(self.preprocessor()) or built_for
        return size, size != built_for

    def mean_and_deviation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of R, G, B on 0..1: from preprocessor_config.json where the model has it."""
        default, stated = NORMALISATION[self.normalisation], self.preprocessor()
        return tuple(stated.get("image_mean", default[0])), tuple(stated.get("image_std", default[1]))

    def preprocessor(self) -> dict[str, Any]:
        """What the model's preprocessor_config.json says; nothing where it has none."""
        file = None if isinstance(self.config, dict) else hub.file(self.source, "preprocessor_config.json")
        return json.loads(file.read_text()) if file else {}
