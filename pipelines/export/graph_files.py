"""`--as onnx`: the image and the text encoder as ONNX files, for programs without torch.

    image.onnx    pixels (B, 3, H, W) uint8                  -> vector (B, D) float32, unit length
    text.onnx     ids (B, L) int64, mask (B, L) bool         -> vector (B, D) float32, unit length

B is free in both, L up to the longest text. Each file is asked at once by onnxruntime, beside torch.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipelines.export.graph import OPSET, Graph
from pipelines.export.origin import Origin
from pipelines.export.preprocessing import write_tokenizer, write_whole
from pipelines.export.whole_folder import whole
from pipelines.progress import say, working
from xmodal.graphs import ImageGraph, TextGraph
from xmodal.inference import Inference
from xmodal.settings import SettingsError

MODULES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class GraphFiles:
    """Both encoders of a model."""

    model: Inference
    origin: Origin

    kind = "onnx"

    @classmethod
    def of(cls, model: Inference, origin: Origin) -> "GraphFiles":
        """Raises SettingsError where what writes and checks is not installed, or the model takes no pixels."""
        missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
        if missing:
            raise SettingsError(f"--as onnx: {missing[0]} is not installed; run: pip install 'xmodal[export]'")
        if not model.reads_pixels:
            raise SettingsError(
                "--as onnx: this model reads features that were computed beforehand, no pixels; allowed: huggingface, "
                "embeddings"
            )
        return cls(model, origin)

    def write(self, folder: Path) -> None:
        """Whole or not at all. Raises Failed where an encoder cannot be written or its file gives other vectors."""
        with whole(folder, {"kind": self.kind, "opset": OPSET, **self.origin.document}) as home:
            for graph in (image_graph(self.model), text_graph(self.model)):
                with working(f"export: {graph.name}.onnx"):
                    difference = graph.write(home, self.origin)
                say(f"{graph.name}.onnx: within {difference:.0e} of torch")
            write_tokenizer(home, self.model)
            write_whole(home, self.model.pixels)


def image_graph(model: Inference) -> Graph:
    """Pixels to unit vectors."""
    network = model.network
    module, draw = ImageGraph(network, model.pixels.size), torch.Generator().manual_seed(0)

    def inputs(rows: int) -> tuple[Tensor, ...]:
        return (torch.randint(0, 256, (rows, 3, *module.size), dtype=torch.uint8, generator=draw),)

    return Graph(
        name="image",
        module=module,
        names=("pixels",),
        free=({0: torch.export.Dim("batch")},),
        inputs=inputs,
        plain=lambda pixels: network.encode_image(network.image_features(pixels)),
        told={"prepared": model.pixels.model_dump(mode="json"), "taken": module.size},
    )


def text_graph(model: Inference) -> Graph:
    """Token ids and their mask to unit vectors."""
    network = model.network
    module, pieces = TextGraph(network), len(network.settings.text.pieces(model.wordpiece))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=module.longest)
    draw, encoder = torch.Generator().manual_seed(0), network.query.text.encoder

    def inputs(rows: int) -> tuple[Tensor, ...]:
        places = module.longest if rows > 2 else min(module.longest, max(3, module.longest // 2))
        ids = torch.randint(0, pieces, (rows, places), generator=draw)
        return ids, torch.arange(places) < torch.randint(1, places + 1, (rows, 1), generator=draw)

    return Graph(
        name="text",
        module=module,
        names=("ids", "mask"),
        free=({0: batch, 1: length}, {0: batch, 1: length}),
        inputs=inputs,
        plain=lambda ids, mask: network.encode_text(*encoder.features(ids, mask)),
        told={"longest": module.longest},
    )
