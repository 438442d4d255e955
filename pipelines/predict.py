"""`xmodal predict`: vectors, species or captions of image files that no dataset knows."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import NotFound
from pipelines.places import root_store
from pipelines.progress import Progress, warn
from pipelines.taxa import asked_in, species_texts
from pipelines.train.runs import opened
from pipelines.writable import check_writable
from xmodal.inference import Inference
from xmodal.transforms import BadImage

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
BATCH = 32
BEST = 5
"""Species named for an image."""


def predict(
    what: str, checkpoint: str, images: tuple[Path, ...], out: Path | None, root: str | None, beams: int = 1
) -> None:
    """Writes one row an image to stdout as JSON lines, or to a Parquet file.

    A file that cannot be read gets a row with its reason. Raises SettingsError where the Parquet file cannot be
    written, before any work; NotFound where there is no image or no checkpoint.
    """
    if out is not None:
        check_writable(out, "--out", f"{what}.parquet")
    files = list(image_files(images))
    if not files:
        raise NotFound(f"no image file in {', '.join(map(str, images))}; looked for {', '.join(sorted(SUFFIXES))}")
    with opened(root_store(root), checkpoint) as directory:
        model = Inference.load(directory, beams=beams)
    if what != "caption" and not model.network.trains_vectors:
        warn("no task of this model has trained its vectors, and these come of nothing else: expect chance")
    rows = _with_progress(Predictor(model).rows(what, files), what, len(files))
    if out is None:
        for row in rows:
            print(json.dumps(row))
        return
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    print(out, file=sys.stderr)


def image_files(paths: tuple[Path, ...]) -> Iterator[Path]:
    """The files given, and those with an image's ending in the folders given, sorted."""
    for path in paths:
        inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        yield from inside


def _with_progress(rows: Iterator[dict[str, Any]], what: str, total: int) -> Iterator[dict[str, Any]]:
    refused = 0
    with Progress(what, total, "images") as progress:
        for done, row in enumerate(rows, start=1):
            refused += "refused" in row
            progress.update(done, refused=refused)
            yield row


class Predictor:
    """One model's answers, batch by batch."""

    def __init__(self, model: Inference):
        self.model = model

    def rows(self, what: str, files: list[Path]) -> Iterator[dict[str, Any]]:
        """`what` is embed, classify or caption. Raises NotFound where the model has learnt no such thing."""
        answer = {"embed": self._embed, "classify": self._classify, "caption": self._caption}[what]()
        for start in range(0, len(files), BATCH):
            part = files[start : start + BATCH]
            read = [self._read(path) for path in part]
            good = [pixels for pixels in read if not isinstance(pixels, BadImage)]
            answers = iter(answer(good) if good else [])
            for path, pixels in zip(part, read, strict=True):
                found = {"refused": pixels.reason} if isinstance(pixels, BadImage) else next(answers)
                yield {"file": str(path), **found}

    def _read(self, path: Path) -> Any:
        try:
            return self.model.pixels_of([path.read_bytes()])
        except BadImage as error:
            return error

    def _embed(self) -> Any:
        return lambda pixels: [{"embedding": vector.tolist()} for vector in self._vectors(pixels)]

    def _classify(self) -> Any:
        taxa = self.model.state["taxa"]
        if not taxa:
            raise NotFound("this model was trained on no named species, so it cannot classify")
        names, code = sorted(taxa), asked_in(self.model.recipe)
        texts = self.model.class_vectors([species_texts(taxa[name], code) for name in names])
        scale = 1 / float(self.model.network.temperature.value)

        def answer(pixels: list[Any]) -> list[dict[str, Any]]:
            shares = (self._vectors(pixels) @ texts.T * scale).softmax(1)
            best = shares.topk(min(BEST, len(names)))
            return [
                {
                    "species": [
                        {"taxon": names[n], "score": round(score, 4)} for n, score in zip(where, scores, strict=True)
                    ]
                }
                for where, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]

        return answer

    def _caption(self) -> Any:
        if not self.model.captions_images:
            raise NotFound("this model was not trained to write captions (model.tasks.lm)")
        encode = self.model.network.image_features
        return lambda pixels: [{"caption": text} for text in self.model.captions(encode(_stacked(pixels)))]

    def _vectors(self, pixels: list[Any]) -> Any:
        return self.model.image_vectors(_stacked(pixels))


def _stacked(pixels: list[Any]) -> Any:
    import torch

    return torch.cat(pixels)
