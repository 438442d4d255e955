"""open_clip models (BioCLIP ships so) as encoders, from a folder or the hub, without the package open_clip.

The folder holds what open_clip's own `push_to_hf_hub` writes: open_clip_config.json, open_clip_model.safetensors or
open_clip_pytorch_model.bin, and the tokeniser's files. A Hugging Face CLIP tower of the same geometry takes the
weights; tests hold it equal to open_clip's published forward.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator
from torch import nn

from xmodal.encoders import hub, open_clip_config, open_clip_weights
from xmodal.encoders.text_backbone import Masked, TextBackbone, text_encoder
from xmodal.encoders.tokenizing import HubTokenizer
from xmodal.encoders.towers import FrozenImage, FrozenText, TrainedImage, TrainedText
from xmodal.encoders.vision_backbone import VisionBackbone, image_encoder
from xmodal.settings import Settings, SettingsError
from xmodal.wordpiece import WordPiece

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

CONFIG = "open_clip_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


def filled(kind: type["PreTrainedModel"], config: "PretrainedConfig", source: str, part: hub.Part) -> nn.Module:
    """A CLIP tower with the weights in `source`. Raises SettingsError where they do not fit its configuration."""
    model = kind(config)
    try:
        model.load_state_dict(open_clip_weights.tower(open_clip_weights.read(source), part))
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n")[1:2]).strip()
        raise SettingsError(f"path: the weights of {source!r} do not fit its {CONFIG}: {reason[:200]}") from None
    return model


class OpenClip(Settings):
    """What the vision and the text encoder share."""

    kind: Literal["open_clip"]
    path: str
    """Folder or hub id, hf-hub:imageomics/bioclip for example; hf-hub: may be left out."""
    frozen: bool = True
    """True: not trained, its output is computed once by `prepare` and cached with the dataset."""
    pool: Literal["tokens", "mean", "own"] = "tokens"
    """tokens: every output token; mean: one token, their mean over the valid places; own: one token, the model's point
    in its shared space (open_clip's encode_image and encode_text)."""

    @property
    def source(self) -> str:
        """Folder or hub id. Raises SettingsError for a folder that does not exist."""
        return hub.resolve(self.path)

    def document(self) -> open_clip_config.Document:
        """The model's configuration. Raises SettingsError where there is none, or one of another kind of model."""
        file = hub.file(self.source, CONFIG)
        if file is None:
            raise SettingsError(f"path: {self.path!r} holds no {CONFIG}, or cannot be reached")
        return open_clip_config.read(file)


class OpenClipVision(OpenClip):
    """The image tower of an open_clip model: the class token, then the patches row by row."""

    def build(self) -> FrozenImage | TrainedImage:
        """Raises SettingsError where the model cannot be had."""
        document = self.document()
        model = document.model_cfg
        width = model.embed_dim if self.pool == "own" else model.vision_cfg.width
        facts = str((document.preprocess_cfg.mean, document.preprocess_cfg.std))
        return image_encoder(self, self.frozen, width, self.backbone, facts)

    def backbone(self) -> VisionBackbone:
        """The tower with its weights."""
        from transformers import CLIPVisionModelWithProjection

        document = self.document()
        model = filled(CLIPVisionModelWithProjection, document.model_cfg.vision(), self.source, "vision")
        tower = model if self.pool == "own" else hub.tower(model, "vision")
        side, given = document.model_cfg.vision_cfg.image_size, document.preprocess_cfg
        return VisionBackbone(tower, (side, side), given.mean, given.std, self.pool)


class OpenClipText(OpenClip):
    """The text tower of an open_clip model, with the tokeniser that its folder brings."""

    length: int | None = Field(default=None, ge=2)
    """Most tokens of a text, special ones included; a longer text loses its end. Without it what the model takes."""
    tokenizer: str | None = None
    """Folder or hub id of the tokeniser, where the model's folder brings none: openai/clip-vit-large-patch14 has
    the one that open_clip uses where a model names no other."""

    @model_validator(mode="after")
    def _mean_is_frozen(self) -> "OpenClipText":
        if self.pool == "mean" and not self.frozen:
            raise ValueError("open_clip: pool mean of a text encoder needs frozen true")
        return self

    def build(self, wordpiece: WordPiece) -> FrozenText | TrainedText:
        """Raises SettingsError where the model cannot be had or takes fewer than `length` tokens."""
        model = self.document().model_cfg
        width = model.embed_dim if self.pool == "own" else model.text_cfg.width
        tokenizer = self.build_tokenizer(wordpiece)
        return text_encoder(self, self.frozen, self.pool, width, self.backbone, tokenizer, tokenizer.identity())

    def build_tokenizer(self, wordpiece: WordPiece) -> HubTokenizer:
        """Texts to ids and mask without building the encoder. Raises SettingsError where there is no tokeniser."""
        text = self.document().model_cfg.text_cfg
        tokenizer = HubTokenizer(self.tokenizer_source(text.hf_tokenizer_name), self.longest)
        if len(tokenizer.tokenizer) > text.vocab_size:
            raise SettingsError(
                f"tokenizer: the tokeniser of {tokenizer.source!r} has {len(tokenizer.tokenizer)} pieces, the model "
                f"{self.path!r} takes {text.vocab_size}"
            )
        return tokenizer

    @property
    def longest(self) -> int:
        """Most tokens of a text. Raises SettingsError where the model cannot be had or takes fewer than `length`."""
        taken = self.document().model_cfg.text_cfg.context_length
        if self.length is not None and self.length > taken:
            raise SettingsError(f"length: this model takes at most {taken} tokens, not {self.length}")
        return self.length or taken

    def pieces(self, wordpiece: WordPiece) -> tuple[str, ...]:
        """The vocabulary of `build_tokenizer`, by id."""
        return self.build_tokenizer(wordpiece).pieces

    def tokenizer_source(self, named: str | None) -> str:
        """The tokeniser of the settings, else the model's own, else that which its configuration names."""
        if self.tokenizer:
            return hub.resolve(self.tokenizer)
        found = [one for name in TOKENIZER_FILES if (one := hub.file(self.source, name))]
        if found:  # by their folder: by a hub id the tokeniser would be looked up in a config.json, which is not there
            return str(found[0].parent)
        if named:
            return hub.resolve(named)
        raise SettingsError(
            f"tokenizer: {self.path!r} brings no tokeniser (tokenizer.json ...); give a folder or hub id, "
            "for CLIP's own pieces openai/clip-vit-large-patch14"
        )

    def backbone(self) -> TextBackbone:
        """The tower with its weights."""
        from transformers import CLIPTextModelWithProjection

        model = filled(CLIPTextModelWithProjection, self.document().model_cfg.text(), self.source, "text")
        tower = model if self.pool == "own" else hub.tower(model, "text")
        return TextBackbone(tower, Masked(), self.pool)
