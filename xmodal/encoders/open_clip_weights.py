"""Weights of an open_clip model as those of a Hugging Face CLIP tower of the same geometry: only the names differ, the
fused projection of queries, keys and values, and two projections that are stored transposed.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from xmodal.encoders.hub import Part, file
from xmodal.settings import SettingsError

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names that open_clip gives to the weights; the first that is there is read."""

VISION = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.": "vision_model.pre_layrnorm.",
    "ln_post.": "vision_model.post_layernorm.",
    "transformer.resblocks.": "vision_model.encoder.layers.",
    "proj": "visual_projection.weight",
}
TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.": "text_model.final_layer_norm.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "text_projection": "text_projection.weight",
}
BLOCK = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
TRANSPOSED = ("visual_projection.weight", "text_projection.weight")
FUSED = re.compile(r"(.*)\.attn\.in_proj_(weight|bias)")


def read(path: str) -> dict[str, Tensor]:
    """The state dict in a folder or hub id, float32; of a .bin only tensors are unpickled. Raises SettingsError."""
    found = next((one for name in FILES if (one := file(path, name))), None)
    if found is None:
        raise SettingsError(f"path: {path!r} holds no weights of open_clip; looked for {' and '.join(FILES)}")
    try:
        state = load_file(found) if found.suffix == ".safetensors" else _unpickled(found)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, TypeError):
        raise SettingsError(f"path: {found} is damaged, or holds more than tensors, which is not loaded") from None
    return {name.removeprefix("module."): value.float() for name, value in state.items()}


def _unpickled(found: Path) -> dict[str, Tensor]:
    loaded = torch.load(found, map_location="cpu", weights_only=True)
    state = loaded.get("state_dict", loaded)
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise TypeError("not a state dict")
    return state


def tower(state: Mapping[str, Tensor], part: Part) -> dict[str, Tensor]:
    """The state dict of CLIPVisionModelWithProjection or CLIPTextModelWithProjection, without the rest."""
    prefix, names = ("visual.", VISION) if part == "vision" else ("", TEXT)
    own = {name.removeprefix("text."): value for name, value in state.items()} if part == "text" else state
    made: dict[str, Tensor] = {}
    for name, value in own.items():
        start = next((one for one in names if name.startswith(prefix + one)), None)
        if start is not None:
            made |= _renamed(names[start] + name[len(prefix + start) :], value)
    return made


def _renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    fused = FUSED.fullmatch(name)
    if fused:
        block, kind = fused.groups()
        return {f"{block}.self_attn.{one}_proj.{kind}": rows for one, rows in zip("qkv", value.chunk(3), strict=True)}
    for ours, theirs in BLOCK.items():
        name = name.replace(ours, theirs)
    return {name: value.T if name in TRANSPOSED else value}
