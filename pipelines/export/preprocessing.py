"""What is done to an image and a text before an encoder, in the files that Hugging Face's processors and the
`tokenizers` library read: `preprocessor_config.json`, `tokenizer.json`, `tokenizer_config.json`."""

import json
from pathlib import Path
from typing import Any

from xmodal.encoders.hugging_face import HuggingFaceVision
from xmodal.encoders.open_clip import OpenClipVision
from xmodal.encoders.tokenizing import HubTokenizer
from xmodal.encoders.vision_backbone import VisionBackbone
from xmodal.inference import Inference
from xmodal.transforms import PixelSettings
from xmodal.wordpiece import CLS, MASK, PAD, SEP, SPECIAL, UNK, WordPiece

BICUBIC = 3
"""Pillow's number for it."""
PREPROCESSOR = "preprocessor_config.json"
SPECIAL_TOKENS = {"pad_token": PAD, "unk_token": UNK, "cls_token": CLS, "sep_token": SEP, "mask_token": MASK}


def write_tokenizer(folder: Path, model: Inference) -> None:
    """The tokeniser of the text encoder."""
    text = model.network.settings.text
    tokenizer = text.build_tokenizer(model.wordpiece)
    if isinstance(tokenizer, HubTokenizer):
        tokenizer.tokenizer.save_pretrained(folder)
    else:
        write_wordpiece(folder, model.wordpiece, text.longest)


def write_wordpiece(folder: Path, wordpiece: WordPiece, length: int) -> None:
    """The dataset's vocabulary. Names of special tokens in a text stay text."""
    wordpiece.tokenizer(length).save(str(folder / "tokenizer.json"))
    document: dict[str, Any] = {name: SPECIAL[token] for name, token in SPECIAL_TOKENS.items()} | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write(folder / "tokenizer_config.json", document)


def write_whole(folder: Path, pixels: PixelSettings) -> None:
    """From an image to the uint8 pixels that the model takes: it normalises them itself."""
    side = {"height": pixels.size, "width": pixels.size}
    squash = {"size": side, "do_center_crop": False}
    crop = {"size": {"shortest_edge": pixels.size}, "do_center_crop": True, "crop_size": side}
    kept = {"do_rescale": False, "do_normalize": False}
    _write(folder / PREPROCESSOR, _resizing() | {"squash": squash, "crop": crop}[pixels.resize] | kept)


def write_backbone(folder: Path, backbone: VisionBackbone, settings: HuggingFaceVision | OpenClipVision) -> None:
    """From an image to what a pretrained vision model is given."""
    height, width = backbone.size
    mean, deviation = _of_rgb(settings)
    values = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    size = {"size": {"height": height, "width": width}, "do_center_crop": False}
    _write(folder / PREPROCESSOR, _resizing() | size | values | {"image_mean": mean, "image_std": deviation})


def _of_rgb(settings: HuggingFaceVision | OpenClipVision) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if isinstance(settings, HuggingFaceVision):
        return settings.mean_and_deviation()
    given = settings.document().preprocess_cfg
    return given.mean, given.std


def _resizing() -> dict[str, Any]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": BICUBIC,
    }


def _write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")
