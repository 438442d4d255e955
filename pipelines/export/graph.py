"""A module written as an ONNX file, and asked beside torch before anyone relies on it."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.errors import Failed
from pipelines.export.origin import Origin

OPSET = 20
"""Version of the operators, the one that torch 2.13 writes best."""
TOLERANCE = 1e-4
"""Largest difference of a number of a unit vector between onnxruntime and torch."""
TRACED, COMPARED = 2, (1, 5)
"""Rows of the input that is traced, and of those that are compared."""
OUTPUT = "vector"


@dataclass(frozen=True)
class Graph:
    """One encoder."""

    name: str
    module: nn.Module
    """What is written."""
    names: tuple[str, ...]
    """Names of its inputs."""
    free: tuple[dict[int, Any], ...]
    """Dimensions of each that stay free."""
    inputs: Callable[[int], tuple[Tensor, ...]]
    """Drawn inputs of so many rows."""
    plain: Callable[..., Tensor]
    """The vectors as every other verb gets them."""
    told: dict[str, Any]
    """What the file says beside its origin."""

    @torch.no_grad()
    def write(self, folder: Path, origin: Origin) -> float:
        """Writes NAME.onnx and compares; returns the largest difference. Raises Failed."""
        file = folder / f"{self.name}.onnx"
        try:
            with quiet():
                program: Any = torch.onnx.export(
                    self.module, self.inputs(TRACED), dynamo=True, opset_version=OPSET, verbose=False,
                    dynamic_shapes=self.free, input_names=self.names, output_names=(OUTPUT,),
                )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise Failed(f"--as onnx: torch cannot write the {self.name} encoder: {_reason(error)}") from error
        program.model.metadata_props["xmodal"] = json.dumps(origin.document | self.told)
        program.save(file)
        return self.compare(file)

    @torch.no_grad()
    def compare(self, file: Path) -> float:
        """The largest difference between what onnxruntime makes of the file and torch of the model. Raises Failed where
        it is more than TOLERANCE."""
        import onnxruntime

        session: Any = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        differences = []
        for rows in COMPARED:
            inputs = self.inputs(rows)
            given = {name: one.numpy() for name, one in zip(self.names, inputs, strict=True)}
            found = session.run([OUTPUT], given)[0]
            differences.append(float(np.abs(found - self.plain(*inputs).numpy()).max()))
        if not max(differences) <= TOLERANCE:  # also where it is no number
            raise Failed(
                f"--as onnx: the {self.name} encoder gives other vectors in onnxruntime than in torch, by up to "
                f"{max(differences):.2g}; allowed: {TOLERANCE:g}"
            )
        return max(differences)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporter tells of its inner steps."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: Exception) -> str:
    """The line that says what is the matter, of a text of many that says what to do about it."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return " ".join(str(cause).split())[:200]
