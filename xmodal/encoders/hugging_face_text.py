"""Any Hugging Face text model as a text encoder, with its own tokeniser or the dataset's vocabulary."""

from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from xmodal.encoders import hub
from xmodal.encoders.hugging_face import HuggingFace
from xmodal.encoders.text_backbone import Masked, Padded, TextBackbone, text_encoder
from xmodal.encoders.tokenizing import HubTokenizer, OwnTokenizer
from xmodal.encoders.towers import FrozenText, TrainedText
from xmodal.settings import SettingsError
from xmodal.wordpiece import CLS, PAD, SEP, WordPiece

if TYPE_CHECKING:
    from transformers import PretrainedConfig

READ_PADDING = ("siglip_text_model", "siglip2_text_model")
"""Models that were trained on texts padded to their whole length, the padding attended to like words."""


class HuggingFaceText(HuggingFace):
    """A text model; its last hidden state becomes the tokens. From a `config` it reads the dataset's vocabulary."""

    length: int = Field(default=32, ge=2)
    """Most tokens of a text, special ones included; a longer text loses its end."""

    @model_validator(mode="after")
    def _mean_is_frozen(self) -> "HuggingFaceText":
        if self.pool == "mean" and not self.frozen:
            raise ValueError("hugging_face: pool mean of a text encoder needs frozen true")
        return self

    def build(self, wordpiece: WordPiece) -> FrozenText | TrainedText:
        """Raises SettingsError where the model cannot be had or takes fewer than `length` tokens."""
        config = hub.part_config(self.whole_config(), "text")
        check_length(config, self.length)
        tokenizer = self.build_tokenizer(wordpiece)
        facts = tokenizer.identity() + (" padded" if config.model_type in READ_PADDING else "")
        load = partial(self.backbone, len(wordpiece))
        return text_encoder(self, self.frozen, self.pool, self.width("text"), load, tokenizer, facts)

    def build_tokenizer(self, wordpiece: WordPiece) -> HubTokenizer | OwnTokenizer:
        """Texts to ids and mask without building the encoder."""
        return HubTokenizer(self.source, self.length) if self.path else OwnTokenizer(wordpiece, self.length)

    @property
    def longest(self) -> int:
        """Most tokens of a text."""
        return self.length

    def pieces(self, wordpiece: WordPiece) -> tuple[str, ...]:
        """The vocabulary of `build_tokenizer`, by id."""
        return self.build_tokenizer(wordpiece).pieces

    def backbone(self, vocabulary: int) -> TextBackbone:
        """The model with the weights that the settings name; without weights, with `vocabulary` embeddings."""
        config = self.whole_config()
        part = hub.part_config(config, "text")
        if not self.path:
            part.update({"vocab_size": vocabulary, "pad_token_id": PAD, "bos_token_id": CLS, "eos_token_id": SEP})
        return TextBackbone(self.model(config, "text"), self.reading(part), self.pool)

    def reading(self, config: "PretrainedConfig") -> Masked | Padded:
        """How padding is given to a model of this configuration."""
        if config.model_type not in READ_PADDING:
            return Masked()
        pad = HubTokenizer(self.source, self.length).pad if self.path else PAD
        return Padded(pad, config.max_position_embeddings)


def check_length(config: "PretrainedConfig", length: int) -> None:
    """Raises SettingsError where the model has fewer places than `length`."""
    places = getattr(config, "max_position_embeddings", None)
    if places is not None and length > places:
        raise SettingsError(f"length: a model of type {config.model_type} takes at most {places} tokens, not {length}")
