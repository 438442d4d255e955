"""Encoders: images and texts to tokens. The settings unions here are the list of what can be chosen.

An image encoder has `width` (D), `features(pixels (B, 3, H, W) uint8)` -> what `forward` takes, `forward` ->
(B, R, D) tokens and `identity()`, 16 hex digits that name its output. A text encoder has `width`,
`tokenize(texts)` -> (ids, mask), `features(ids, mask)` -> what `forward` takes, `forward(x, mask)` -> (B, L, D) and
`identity()`; its settings' `build_tokenizer(wordpiece)` gives the tokeniser alone, `pieces(wordpiece)` its
vocabulary. For a trained encoder `features` is
the identity; for a frozen one `forward` is, and `features` is computed once and cached with the dataset.
"""

from typing import Annotated

from pydantic import Field

from xmodal.encoders.efficientnet_lite import EfficientNetLite
from xmodal.encoders.hugging_face import HuggingFaceVision
from xmodal.encoders.hugging_face_text import HuggingFaceText
from xmodal.encoders.towers import FrozenImage, FrozenText, TrainedImage, TrainedText
from xmodal.encoders.transformer import Transformer, TransformerEncoder
from xmodal.encoders.vit import ViT, ViTEncoder

ImageEncoderSettings = Annotated[ViT | EfficientNetLite | HuggingFaceVision, Field(discriminator="kind")]
TextEncoderSettings = Annotated[Transformer | HuggingFaceText, Field(discriminator="kind")]
ImageEncoder = ViTEncoder | FrozenImage | TrainedImage
TextEncoder = TransformerEncoder | FrozenText | TrainedText

__all__ = ["ImageEncoder", "ImageEncoderSettings", "TextEncoder", "TextEncoderSettings"]
