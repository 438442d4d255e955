"""open_clip's own forward, step by step, from its published code (open_clip 3.3, transformer.py and model.py).

A slow reference that reads a state dict of open_clip directly and knows nothing of our loading: `draw` writes a random
one in its layout, `encode_image` and `encode_text` say what open_clip makes of it.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

Cfg = dict[str, Any]
State = dict[str, Tensor]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def config(**changes: Any) -> Cfg:
    """A small model_cfg of plain transformers; `changes` replace what stands at the top."""
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
    text = {"context_length": 12, "vocab_size": 200, "width": 24, "heads": 3, "layers": 2}
    return {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text} | changes


def draw(cfg: Cfg, seed: int = 0) -> State:
    """Random weights under the names that open_clip's CLIP gives them."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    vision, text, dim = cfg["vision_cfg"], cfg["text_cfg"], cfg["embed_dim"]
    width, patch, places = vision["width"], vision["patch_size"], (vision["image_size"] // vision["patch_size"]) ** 2
    state = {
        "visual.class_embedding": random(width),
        "visual.positional_embedding": random(places + 1, width),
        "visual.conv1.weight": random(width, 3, patch, patch),
        "visual.proj": random(width, dim),
        "token_embedding.weight": random(text["vocab_size"], text["width"]),
        "positional_embedding": random(text["context_length"], text["width"]),
        "text_projection": random(text["width"], dim),
        "logit_scale": torch.tensor(math.log(100.0)),
    }
    norms = {"visual.ln_pre": width, "visual.ln_post": width, "ln_final": text["width"]}
    for name, tower in (("visual.transformer", vision), ("transformer", text)):
        for block in range(tower["layers"]):
            prefix, wide = f"{name}.resblocks.{block}", tower["width"]
            norms |= {f"{prefix}.ln_1": wide, f"{prefix}.ln_2": wide}
            for layer, rows, columns in [
                ("attn.in_proj_", 3 * wide, wide),
                ("attn.out_proj.", wide, wide),
                ("mlp.c_fc.", 4 * wide, wide),
                ("mlp.c_proj.", wide, 4 * wide),
            ]:
                state |= {f"{prefix}.{layer}weight": random(rows, columns), f"{prefix}.{layer}bias": random(rows)}
    for name, wide in norms.items():
        state |= {f"{name}.weight": 1 + random(wide), f"{name}.bias": random(wide)}
    return state


def save(folder: Path, cfg: Cfg, state: State, pickled: bool = False) -> None:
    """Configuration and weights as open_clip's push_to_hf_hub writes them."""
    folder.mkdir(exist_ok=True)
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    document = {"model_cfg": cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(document, indent=2))
    if pickled:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    else:
        save_file(state, folder / "open_clip_model.safetensors")


def encode_image(cfg: Cfg, state: State, values: Tensor) -> Tensor:
    """(B, 3, H, W) normalised -> (B, embed_dim): patches, class token first, blocks, its norm, projection."""
    tower = cfg["vision_cfg"]
    patch, side = tower["patch_size"], tower["image_size"] // tower["patch_size"]
    rows = []
    for image in values:
        cells = [
            image[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch].flatten()
            for r in range(side)
            for c in range(side)
        ]
        kernel = state["visual.conv1.weight"].flatten(1)
        x = torch.stack([state["visual.class_embedding"], *(kernel @ cell for cell in cells)])
        x = norm(state, "visual.ln_pre", x + state["visual.positional_embedding"])
        x = blocks(cfg, state, "visual.transformer", tower["width"] // tower["head_width"], tower["layers"], x, False)
        rows.append(norm(state, "visual.ln_post", x)[0] @ state["visual.proj"])
    return torch.stack(rows)


def encode_text(cfg: Cfg, state: State, texts: list[list[int]]) -> Tensor:
    """Ids of texts, each padded with 0 to the context length -> (N, embed_dim): the state at the highest id."""
    tower = cfg["text_cfg"]
    rows = []
    for ids in texts:
        padded = torch.tensor(ids + [0] * (tower["context_length"] - len(ids)))
        x = state["token_embedding.weight"][padded] + state["positional_embedding"]
        x = norm(state, "ln_final", blocks(cfg, state, "transformer", tower["heads"], tower["layers"], x, True))
        rows.append(x[padded.argmax()] @ state["text_projection"])
    return torch.stack(rows)


def norm(state: State, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def blocks(cfg: Cfg, state: State, name: str, heads: int, layers: int, x: Tensor, causal: bool) -> Tensor:
    """(T, W) through pre-norm residual attention blocks."""
    for block in range(layers):
        prefix = f"{name}.resblocks.{block}"
        x = x + attention(state, f"{prefix}.attn", heads, norm(state, f"{prefix}.ln_1", x), causal)
        inner = (
            norm(state, f"{prefix}.ln_2", x) @ state[f"{prefix}.mlp.c_fc.weight"].T + state[f"{prefix}.mlp.c_fc.bias"]
        )
        inner = inner * torch.sigmoid(1.702 * inner) if cfg.get("quick_gelu") else gelu(inner)
        x = x + inner @ state[f"{prefix}.mlp.c_proj.weight"].T + state[f"{prefix}.mlp.c_proj.bias"]
    return x


def attention(state: State, name: str, heads: int, x: Tensor, causal: bool) -> Tensor:
    """torch's MultiheadAttention: queries, keys and values are the three parts of one projection."""
    projected = x @ state[f"{name}.in_proj_weight"].T + state[f"{name}.in_proj_bias"]
    query, key, value = projected.chunk(3, dim=-1)
    wide = x.shape[1] // heads
    outs = []
    for head in range(heads):
        part = slice(head * wide, (head + 1) * wide)
        scores = query[:, part] @ key[:, part].T / math.sqrt(wide)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        outs.append(scores.softmax(-1) @ value[:, part])
    return torch.cat(outs, dim=1) @ state[f"{name}.out_proj.weight"].T + state[f"{name}.out_proj.bias"]
