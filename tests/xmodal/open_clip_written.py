"""A tiny random model saved by open_clip itself, and what open_clip makes of some pixels and ids.

`python -m tests.xmodal.open_clip_written FOLDER`, where open_clip_torch 3.3.0 and its torchvision are installed. The
files in `open_clip_3_3_0` come of it, with an empty module in the place of torchvision, which this model does not call.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

CONFIG: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 200, "width": 16, "heads": 2, "layers": 2},
}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
START, END = 198, 199
TEXTS = ([3, 4, 5], [77], list(range(10, 20)))


class NoTokenizer:
    def save_pretrained(self, folder: str) -> None:
        """A real one's vocabulary is 1.3 MB."""


def main(folder: Path) -> None:
    from open_clip.model import CLIP  # pyright: ignore[reportMissingImports]
    from open_clip.push_to_hf_hub import save_for_hf  # pyright: ignore[reportMissingImports]

    torch.manual_seed(7)
    model = CLIP(**CONFIG).eval()
    model.visual.image_mean, model.visual.image_std = MEAN, STD
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ids = torch.zeros(len(TEXTS), 12, dtype=torch.long)
    for row, text in zip(ids, TEXTS, strict=True):
        row[: len(text) + 2] = torch.tensor([START, *text, END])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        for one in model.parameters():
            one += 0.2 * torch.randn_like(one)
        image, text = model.encode_image((pixels / 255 - mean) / std), model.encode_text(ids)
    folder.mkdir(parents=True, exist_ok=True)
    save_for_hf(model, NoTokenizer(), CONFIG, folder, safe_serialization=True)
    made = {"pixels": pixels, "ids": ids, "image": image.contiguous(), "text": text.contiguous()}
    save_file(made, folder / "made_of_them.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
