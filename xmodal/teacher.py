"""A teacher to start from: another image-text model, whose vectors of the batch the distillation task learns from.

Its weights are loaded where they are first used, and are no part of the model or of a checkpoint; its identity is.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from xmodal.encoders import hub, own
from xmodal.encoders.hugging_face import HuggingFaceVision
from xmodal.encoders.hugging_face_text import HuggingFaceText, check_length
from xmodal.encoders.text_backbone import Masked, Padded
from xmodal.encoders.tokenizing import HubTokenizer
from xmodal.encoders.towers import Frozen
from xmodal.encoders.vision_backbone import VisionBackbone
from xmodal.settings import Settings, SettingsError


class HuggingFaceTeacher(Settings):
    """A CLIP-like model of Hugging Face: it sees pixels, so the model's image encoder must not be frozen."""

    kind: Literal["hugging_face"]
    path: str
    """Folder of a saved model with its tokeniser, hub id, or package:NAME."""
    length: int = Field(default=32, ge=2)
    """Most tokens of a text; a longer text loses its end."""

    def build(self) -> "Teacher":
        return Teacher(self.load)

    def load(self) -> "HubTeacher":
        """Raises SettingsError where the model cannot be had, has no common space of images and texts, or takes fewer
        than `length` tokens."""
        vision = HuggingFaceVision(kind="hugging_face", path=self.path)
        model, _ = hub.load_weights(vision.source)
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise SettingsError(f"teacher.path: {self.path!r} is no CLIP-like model")
        enter = VisionBackbone(nn.Identity(), vision.image_size()[0], *vision.mean_and_deviation(), vision.pool)
        text = HuggingFaceText(kind="hugging_face", path=self.path, length=self.length)
        config = hub.part_config(text.whole_config(), "text")
        check_length(config, self.length)
        return HubTeacher(model, enter, HubTokenizer(text.source, self.length), text.reading(config))


class CheckpointTeacher(Settings):
    """A checkpoint of ours: it takes pixels, or cached features where both have the same frozen image encoder."""

    kind: Literal["checkpoint"]
    path: str
    """Folder of the checkpoint."""

    def build(self) -> "Teacher":
        return Teacher(self.load)

    def load(self) -> "OurTeacher":
        """Raises checkpoint.Damaged."""
        from xmodal.inference import Inference  # it imports the tasks

        return OurTeacher(Inference.load(self.path).network)


TeacherSettings = Annotated[HuggingFaceTeacher | CheckpointTeacher, Field(discriminator="kind")]


class Teacher(Frozen):
    """Images and texts to unit vectors of the teacher's space, without gradient."""

    @torch.no_grad()
    def vectors(self, image: Tensor, encoder: Any, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) pixels or cached features of the student's `encoder`, and B texts -> (B, D) each, float32.

        Raises SettingsError where the teacher cannot read such features.
        """
        model = self.module.to(image.device)
        found = model.image(image, encoder), model.text(texts, image.device)  # pyright: ignore[reportCallIssue]
        first, second = (normalize(one.float(), dim=-1) for one in found)
        return first, second

    def identity(self) -> str:
        """16 hex digits of the weights; loads them."""
        return self.digest[:16]


class HubTeacher(nn.Module):
    """A Hugging Face model with `get_image_features` and `get_text_features`. Padding is given to it as `reading` says,
    so that a text's vector does not depend on the texts beside it."""

    def __init__(self, model: nn.Module, enter: VisionBackbone, tokenizer: HubTokenizer, reading: Masked | Padded):
        super().__init__()
        self.model, self.enter, self.tokenizer, self.reading = model, enter, tokenizer, reading

    def image(self, pixels: Tensor, encoder: Any) -> Tensor:
        if pixels.dtype != torch.uint8:
            raise SettingsError(
                "tasks.distil.teacher: a Hugging Face teacher sees pixels, and model.image is frozen: batches hold its "
                "cached features"
            )
        return own.embedding(self.model, "vision", pixel_values=self.enter.values(pixels))

    def text(self, texts: list[str], device: torch.device) -> Tensor:
        ids, mask = (one.to(device) for one in self.tokenizer(texts))
        return own.embedding(self.model, "text", **self.reading(ids, mask))


class OurTeacher(nn.Module):
    """The query encoders of a CrossModalModel."""

    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def image(self, x: Tensor, encoder: Any) -> Tensor:
        if x.dtype == torch.uint8:
            return self.network.encode_image(self.network.image_features(x))
        if self.network.identities.get("image") != encoder.identity():
            raise SettingsError(
                "tasks.distil.teacher: batches hold features of model.image, which is frozen, and the teacher has "
                "another image encoder"
            )
        return self.network.encode_image(x)

    def text(self, texts: list[str], device: torch.device) -> Tensor:
        x, mask = self.network.text_features(texts)
        return self.network.encode_text(x.to(device), mask.to(device))
