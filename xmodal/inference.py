"""A trained model for use: pixels and texts in, unit vectors and captions out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xmodal import checkpoint
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.settings import parse, read_yaml
from xmodal.transforms import PixelSettings, decode_pixels, prepare_image
from xmodal.wordpiece import WordPiece

USED = ("model.safetensors", "recipe.yaml", "wordpiece.json", "attributes.json", "state.json")
"""Files of a checkpoint that inference reads."""


def located(recipe: Any, folder: Path) -> Any:
    """The recipe, in which the path of an encoder that lies in the checkpoint's own folder (`./image_encoder`, as
    `xmodal export` writes it) leads there from anywhere."""
    if not isinstance(recipe, dict):
        return recipe
    inside = {name: str((folder / path).resolve()) for name, path in recipe.items() if _inside(name, path, folder)}
    return {name: located(value, folder) for name, value in recipe.items()} | inside


def _inside(name: str, path: Any, folder: Path) -> bool:
    return name == "path" and isinstance(path, str) and path.startswith("./") and (folder / path).is_dir()


@dataclass(frozen=True)
class Inference:
    """The query encoders of a checkpoint, in evaluation mode."""

    network: CrossModalModel
    recipe: dict[str, Any]
    wordpiece: WordPiece
    state: dict[str, Any]
    pixels: PixelSettings
    device: torch.device
    beams: int
    """Places of the search for captions; 1 is greedy."""
    weights: str = ""
    """SHA-256 of its weights; empty for a model that no checkpoint holds."""

    @classmethod
    def load(cls, directory: str | Path, device: str = "cpu", beams: int = 1) -> "Inference":
        """Reads a checkpoint directory, verified. Raises checkpoint.Damaged, SettingsError."""
        folder = Path(directory)
        checkpoint.verify(folder, USED)
        recipe = located(read_yaml(folder / "recipe.yaml"), folder)
        wordpiece = checkpoint.read_wordpiece(folder)
        attributes = json.loads(checkpoint.read_text(folder, "attributes.json"))["attributes"]
        network = CrossModalModel(parse(ModelSettings, recipe.get("model", {})), wordpiece, len(attributes))
        checkpoint.load_weights(folder, network)
        network = network.to(device).eval().requires_grad_(False)
        pixels = parse(PixelSettings, recipe["data"].get("pixels", {}))
        state, digest = checkpoint.read_state(folder), checkpoint.weights_digest(folder)
        return cls(network, recipe, wordpiece, state, pixels, torch.device(device), beams, digest)

    @property
    def captions_images(self) -> bool:
        """Whether the model was trained to write captions."""
        return "lm" in self.network.weights

    @property
    def reads_pixels(self) -> bool:
        """Whether it takes image files; a model of precomputed features takes images of its dataset alone."""
        return self.network.settings.image.kind != "precomputed"

    def pixels_of(self, files: list[bytes]) -> Tensor:
        """Image files as (B, 3, H, W) uint8, by the same road as in `prepare`. Raises BadImage."""
        return torch.stack([decode_pixels(prepare_image(data, self.pixels).jpeg) for data in files])

    @torch.no_grad()
    def image_vectors(self, pixels: Tensor, batch: int = 64) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, D) float32 unit vectors on the CPU."""
        parts = [part.to(self.device) for part in pixels.split(batch)]
        return torch.cat([self.network.encode_image(self.network.image_features(part)).cpu() for part in parts])

    @torch.no_grad()
    def text_vectors(self, texts: list[str], batch: int = 256) -> Tensor:
        """N texts -> (N, D) float32 unit vectors on the CPU."""
        parts = [texts[start : start + batch] for start in range(0, len(texts), batch)]
        return torch.cat([self.network.encode_text(*self.network.text_features(part)).cpu() for part in parts])

    def class_vectors(self, classes: list[list[str]]) -> Tensor:
        """(C, D) unit vectors of C classes, each the mean direction of its texts (CLIP's prompt ensemble)."""
        vectors = self.text_vectors([text for texts in classes for text in texts])
        return torch.stack(
            [normalize(part.mean(0), dim=0) for part in vectors.split([len(texts) for texts in classes])]
        )

    @torch.no_grad()
    def captions(self, encoded: Tensor, batch: int = 64) -> list[str]:
        """Captions of what the image encoder takes: pixels, or cached features where it is frozen."""
        length = self.network.settings.caption_length
        parts = [self.network.generate(part.to(self.device), length, self.beams) for part in encoded.split(batch)]
        return [text for part in parts for text in self.wordpiece.decode(part.cpu())]
