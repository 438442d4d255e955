"""Encoders that are Hugging Face models, saved as what they are: folders that `from_pretrained` loads."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pipelines.export.preprocessing import write_backbone, write_tokenizer
from xmodal.encoders import hub, own
from xmodal.encoders.hugging_face import HuggingFace
from xmodal.encoders.text_backbone import TextBackbone
from xmodal.encoders.vision_backbone import VisionBackbone
from xmodal.graphs import backbones
from xmodal.inference import Inference
from xmodal.model import CrossModalModel


@dataclass(frozen=True)
class Pretrained:
    """One such encoder: its place in the recipe's model, its settings, and what makes its tokens."""

    place: tuple[str, ...]
    settings: Any
    backbone: VisionBackbone | TextBackbone

    @property
    def folder(self) -> str:
        return f"{'_'.join(self.place)}_encoder"

    @property
    def kept(self) -> bool:
        """Whether the recipe reads its weights from a Hugging Face folder or the hub, for which this folder stands."""
        return isinstance(self.settings, HuggingFace) and self.settings.path is not None

    @property
    def model(self) -> Any:
        """The model that goes into the folder. One of which the encoder took a tower's embedding is whole again: with
        the weights of the other tower that it had."""
        part: hub.Part = "vision" if isinstance(self.backbone, VisionBackbone) else "text"
        model: Any = self.backbone.model
        if self.settings.pool != "own" or not hasattr(model, own.ASKED[part]):
            return model
        whole: nn.Module = hub.load_weights(self.settings.source)[0] if self.kept else hub.random_weights(model.config)
        whole.load_state_dict(model.state_dict(), strict=False)
        return whole

    def save(self, home: Path, inference: Inference) -> "Saved":
        """The model with its preprocessor or tokeniser below `home`."""
        folder = home / self.folder
        with hub.no_progress_bar():
            model = self.model
            model.save_pretrained(folder)
        if isinstance(self.backbone, VisionBackbone):
            write_backbone(folder, self.backbone, self.settings)
        else:
            write_tokenizer(folder, inference)
        return Saved(self.folder, type(model).__name__, self.settings.frozen)


@dataclass(frozen=True)
class Saved:
    """What a card says of a folder."""

    folder: str
    loaded_by: str
    """Class in transformers."""
    frozen: bool


def pretrained(network: CrossModalModel) -> Iterator[Pretrained]:
    """Those of a model."""
    for side, tower in (("image", network.query.image), ("text", network.query.text)):
        settings = getattr(network.settings, side)
        for inner, backbone in backbones(tower.encoder).items():
            if isinstance(backbone, VisionBackbone | TextBackbone):
                place = (side, inner) if inner else (side,)
                yield Pretrained(place, getattr(settings, inner) if inner else settings, backbone)
