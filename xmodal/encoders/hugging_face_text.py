"""Any Hugging Face text model as a text encoder, with its own tokeniser or the dataset's vocabulary."""

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal.encoders import hub
from xmodal.encoders.hugging_face import HuggingFace
from xmodal.encoders.towers import FrozenText, TrainedText, train_only_what_is_used
from xmodal.settings import SettingsError
from xmodal.wordpiece import CLS, PAD, SEP, WordPiece

if TYPE_CHECKING:
    from transformers import PretrainedConfig


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
        width, tokenizer = hub.width_of(config), self.build_tokenizer(wordpiece)
        if self.frozen:
            pool = mean_pooled if self.pool == "mean" else all_tokens
            load = partial(self.backbone, len(wordpiece))
            return FrozenText(self, width, load, tokenizer, pool, tokenizer.identity())
        return TrainedText(self, width, partial(self.trainable, len(wordpiece)), tokenizer)

    def build_tokenizer(self, wordpiece: WordPiece) -> "HubTokenizer | OwnTokenizer":
        """Texts to ids and mask without building the encoder."""
        return HubTokenizer(self.source, self.length) if self.path else OwnTokenizer(wordpiece, self.length)

    def pieces(self, wordpiece: WordPiece) -> tuple[str, ...]:
        """The vocabulary of `build_tokenizer`, by id."""
        return self.build_tokenizer(wordpiece).pieces

    def backbone(self, vocabulary: int) -> "TextBackbone":
        """The model with the weights that the settings name; without weights, with `vocabulary` embeddings."""
        if self.path:
            return TextBackbone(hub.load_weights(self.source, "text"))
        config = self.whole_config()
        hub.part_config(config, "text").update(
            {"vocab_size": vocabulary, "pad_token_id": PAD, "bos_token_id": CLS, "eos_token_id": SEP}
        )
        return TextBackbone(hub.random_weights(config, "text"))

    def trainable(self, vocabulary: int) -> nn.Module:
        """The same, with the gradient stopped where it would not arrive."""
        ids = torch.tensor([[CLS, SEP]])
        return train_only_what_is_used(self.backbone(vocabulary), ids, torch.ones_like(ids, dtype=torch.bool))


class TextBackbone(nn.Module):
    """(B, L) ids and mask -> (B, L, D)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state


class HubTokenizer:
    """The tokeniser that a model brings."""

    def __init__(self, source: str, length: int):
        self.source, self.length = source, length
        self.tokenizer = hub.read_tokenizer(source)

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask, padded to the longest, truncated at `length`."""
        if not texts:
            return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 2, dtype=torch.bool)
        tokens = self.tokenizer(
            list(texts),
            padding="longest",
            padding_side="right",
            truncation=True,
            max_length=self.length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return tokens["input_ids"], tokens["attention_mask"].bool()

    @property
    def pieces(self) -> tuple[str, ...]:
        """Its vocabulary, by id."""
        return tuple(self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer))))

    def identity(self) -> str:
        """A digest of the vocabulary."""
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return hashlib.sha256(repr(vocabulary).encode()).hexdigest()


class OwnTokenizer:
    """The dataset's WordPiece vocabulary."""

    def __init__(self, wordpiece: WordPiece, length: int):
        self.wordpiece, self.length = wordpiece, length

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """(N, L) int64 ids and (N, L) bool mask."""
        return self.wordpiece.encode(texts, self.length)

    @property
    def pieces(self) -> tuple[str, ...]:
        """Its vocabulary, by id."""
        return self.wordpiece.tokens

    def identity(self) -> str:
        """A digest of the vocabulary."""
        return hashlib.sha256(self.wordpiece.to_json().encode()).hexdigest()


def all_tokens(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L, D) as they are; places that the mask leaves out are 0."""
    return tokens * mask[..., None], mask


def mean_pooled(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, D): the mean over the valid places, and a mask of ones; a row without valid places is 0."""
    weights = mask[..., None].to(tokens.dtype)
    mean = (tokens * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1)
    return mean, mask.new_ones(len(mask), 1)


def check_length(config: "PretrainedConfig", length: int) -> None:
    """Raises SettingsError where the model has fewer places than `length`."""
    places = getattr(config, "max_position_embeddings", None)
    if places is not None and length > places:
        raise SettingsError(f"length: a model of type {config.model_type} takes at most {places} tokens, not {length}")
