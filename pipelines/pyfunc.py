"""What `mlflow.pyfunc.load_model` loads: a checkpoint by its files, no pickle, and no import of mlflow here."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from xmodal.inference import USED, Inference


class Embedder:
    """Rows with an `image` (bytes of an image file) or a `text` to rows with an `embedding`."""

    def __init__(self, inference: Inference):
        self.inference = inference

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[list[float]]:
        """Rows (a pandas DataFrame or dicts) that hold exactly one of `image` and `text` -> N lists of D floats.

        Raises ValueError naming the first row that holds both or neither, BadImage for a file that cannot be read.
        """
        rows = model_input.to_dict("records") if hasattr(model_input, "to_dict") else list(model_input)
        return [self._row(number, _present(row)) for number, row in enumerate(rows)]

    def _row(self, number: int, row: dict[str, Any]) -> list[float]:
        if set(row) == {"image"}:
            return self.inference.image_vectors(self.inference.pixels_of([bytes(row["image"])]))[0].tolist()
        if set(row) == {"text"}:
            return self.inference.text_vectors([str(row["text"])])[0].tolist()
        raise ValueError(
            f"row {number}: give either an image (bytes of a file) or a text, not {sorted(row) or 'nothing'}"
        )


def _present(row: dict[str, Any]) -> dict[str, Any]:
    """Without empty cells; a data frame writes them as None or NaN."""
    return {name: value for name, value in row.items() if value is not None and value == value}


def files(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint that a served model needs."""
    return [checkpoint / name for name in (*USED, "manifest.json")]


def _load_pyfunc(data_path: str) -> Embedder:
    """Called by mlflow with the directory that was logged."""
    return Embedder(Inference.load(data_path))


def grey_image() -> bytes:
    """A small JPEG for the input example."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (127, 127, 127)).save(stream, "JPEG")
    return stream.getvalue()
