"""Features of frozen encoders: a derived part beside each pixel or record part, computed once for each encoder."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from infra.storage import Store
from pipelines.prepare.parts import GROUP_ROWS, RECORDS, TEXT_FEATURES, parquet, put_part, read_columns
from pipelines.prepare.stored_features import StoredFeatures
from xmodal.encoders import ImageEncoderSettings, TextEncoderSettings
from xmodal.transforms import decode_pixels
from xmodal.wordpiece import WordPiece

IMAGES = 4
"""Images encoded at once. On a CPU more of them only move memory: 32 cost EfficientNet-Lite0 three times as much."""
TEXTS = 32
"""Texts encoded at once."""


@dataclass(frozen=True)
class FeatureTask:
    """The features of one part (pixels or records), by the encoder of identity `encoder`."""

    encoder: str
    survey: str
    item: str
    home: Store
    receipt: Store
    part: dict[str, Any]
    archive: Store
    """Of the part's survey."""

    def write(self, table: pa.Table, shape: list[int]) -> bytes:
        """Puts the part and its receipt; returns the receipt."""
        data = parquet(table, large=("features",))
        facts = {"item": self.item, "survey": self.survey, "source": self.part["sha256"], "shape": shape}
        entry = put_part(self.home, f"features/{self.encoder}", self.item, data, len(table), **facts)
        receipt = json.dumps(entry).encode()
        self.receipt.put(receipt_key(self.encoder, self.item, self.part), receipt)
        return receipt


def receipt_key(encoder: str, item: str, part: dict[str, Any]) -> str:
    return f"{encoder}-{item}-{part['sha256'][:16]}.json"


class ImageFeatures:
    """Pixel part to feature part. The encoder is loaded once a process."""

    def __init__(self, settings: ImageEncoderSettings) -> None:
        self._encoder = settings.build().eval()

    def __call__(self, task: FeatureTask) -> bytes:
        system, root = task.home.filesystem()
        samples: list[str] = []
        rows: list[bytes] = []
        shape: list[int] = []
        with system.open_input_file(f"{root}/{task.part['path']}") as file:
            for batch in pq.ParquetFile(file).iter_batches(GROUP_ROWS, columns=["sample_id", "image"]):
                samples += batch["sample_id"].to_pylist()
                for features in self._features(batch["image"].to_pylist()):
                    shape = list(features.shape[1:])
                    rows += [row.tobytes() for row in features]
        fixed = pa.array(rows, pa.binary(len(rows[0])))
        return task.write(pa.table([samples, fixed], names=["sample_id", "features"]), shape)

    def _features(self, images: list[bytes]) -> Iterator[np.ndarray]:
        for start in range(0, len(images), IMAGES):
            pixels = torch.stack([decode_pixels(image) for image in images[start : start + IMAGES]])
            yield self._encoder.features(pixels).numpy().astype(np.float16)


def image_features(settings: ImageEncoderSettings) -> type["ImageFeatures"] | type[StoredFeatures]:
    """What makes the features of an encoder: the encoder itself, or the archive that brings them."""
    return StoredFeatures if settings.kind == "precomputed" else ImageFeatures


class TextFeatures:
    """Record part to feature part: every caption of a row, in order, padded to the encoder's longest text."""

    def __init__(self, settings: TextEncoderSettings, wordpiece: WordPiece) -> None:
        self._encoder = settings.build(wordpiece).eval()
        longest, _ = self._encoder.features(*self._encoder.tokenize(["word " * 1024]))
        self._shape = list(longest.shape[1:])

    def __call__(self, task: FeatureTask) -> bytes:
        rows = read_columns(task.home, task.part["path"], ["sample_id", "captions"], RECORDS)
        texts = [[one["text"] for one in json.loads(row)] for row in rows["captions"].to_pylist()]
        features, lengths = self._encoded([text for row in texts for text in row])
        ends = np.cumsum([len(row) for row in texts])
        starts = ends - [len(row) for row in texts]
        columns = [
            rows["sample_id"].to_pylist(),
            [features[a:b].tobytes() for a, b in zip(starts, ends, strict=True)],
            [lengths[a:b].tobytes() for a, b in zip(starts, ends, strict=True)],
        ]
        return task.write(pa.table(columns, schema=TEXT_FEATURES), self._shape)

    def _encoded(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(N, L, D) float16 and (N,) int32; each distinct text is encoded once, beside texts of like length."""
        distinct = sorted(dict.fromkeys(texts), key=len)
        features = np.zeros((len(distinct), *self._shape), np.float16)
        lengths = np.zeros(len(distinct), np.int32)
        for start in range(0, len(distinct), TEXTS):
            found, mask = self._encoder.features(*self._encoder.tokenize(distinct[start : start + TEXTS]))
            rows = slice(start, start + len(found))
            features[rows, : found.shape[1]] = (found * mask[..., None]).numpy()
            lengths[rows] = mask.sum(1).numpy()
        position = {text: index for index, text in enumerate(distinct)}
        order = np.array([position[text] for text in texts], np.int64)
        return features[order], lengths[order]
