"""One training sample: what is drawn for (seed, epoch, sample), and how it travels as Arrow columns.

An image comes from pixel parts (`PixelImages`) or from the cached output of a frozen encoder (`FeatureImages`), a text
as token ids (`TokenTexts`, `VariedTexts`) or cached features (`FeatureTexts`). A `SampleReader` holds one of each.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.dataset import Dataset
from pipelines.train.caption_words import CaptionWords, NoWords
from pipelines.train.known_texts import Encode, KnownTexts
from xmodal.batch import Batch
from xmodal.corruption import Corruption
from xmodal.encoders import TextEncoderSettings
from xmodal.transforms import AugmentSettings, augment, decode_pixels, draw
from xmodal.wordpiece import WordPiece

NO_WORDS = NoWords()
RECORD_COLUMNS = ["sample_id", "survey", "event_id", "place", "taxon", "taxon_rank", "codes", "captions"]


def identifier(text: str) -> int:
    """63-bit hash of a text, the form in which ids travel through batches and queues."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def caption_identifier(text: str) -> int:
    """Hash of a caption with case and white space normalised: equal captions have equal ids."""
    return identifier(" ".join(text.lower().split()))


def sequence_identifier(survey: str, event: str | None) -> int:
    """Hash of an event within its survey; -1 where the archive states none."""
    return identifier(f"{survey}\0{event}") if event else -1


def padded_codes(codes: list[int] | None, attributes: int) -> np.ndarray:
    """(A,) int32 attribute codes; what is not stated, or came after the record was written, is -1."""
    known = np.array(codes or [], np.int32)
    return np.concatenate([known, np.full(attributes - len(known), -1, np.int32)])


def caption_choice(count: int, seed: int, epoch: int, sample: str) -> int:
    """Which of a sample's captions an epoch uses: every one comes once in `count` epochs, in a drawn order."""
    return int(draw(seed, "caption", sample, epoch // count).permutation(count)[epoch % count])


@dataclass(frozen=True)
class PixelImages:
    """uint8 pixels (3, size, size), decoded and augmented here."""

    size: int
    augment: AugmentSettings
    seed: int

    part = "pixels"
    column = "image"
    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size)

    def image(self, stored: bytes, sample: str, epoch: int) -> bytes:
        generator = draw(self.seed, "augment", sample, epoch)
        return augment(decode_pixels(stored), self.augment, generator).numpy().tobytes()

    def decode(self, stored: bytes) -> np.ndarray:
        """The image as it is, without augmentation."""
        return decode_pixels(stored).numpy()

    def tensor(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows)


@dataclass(frozen=True)
class FeatureImages:
    """fp16 features (R, D) of a frozen encoder, as `prepare` cached them in the part named `part`."""

    part: str
    shape: tuple[int, ...]

    column = "features"
    dtype = np.dtype(np.float16)

    def image(self, stored: bytes, sample: str, epoch: int) -> bytes:
        return stored

    def decode(self, stored: bytes) -> np.ndarray:
        return np.frombuffer(stored, self.dtype).reshape(self.shape)

    def tensor(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows.astype(np.float32))


@dataclass(frozen=True)
class TokenTexts:
    """int64 token ids (L,) of the text encoder, padded with zeros; `length` is the longest text it takes."""

    encoder: TextEncoderSettings
    wordpiece: str
    length: int

    dtype = np.dtype(np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def read(self, dataset: Dataset, item: int, group: int, captions: list[list[str]]) -> list[list[tuple[bytes, int]]]:
        """Bytes and token count of every caption of a row group."""
        flat = iter(self._known()([text for texts in captions for text in texts]))
        return [[next(flat) for _ in texts] for texts in captions]

    def _known(self) -> KnownTexts:
        return _known(
            f"text {self.encoder.model_dump_json()} {self.wordpiece}",
            self.length,
            lambda: self.encoder.build_tokenizer(_wordpiece(self.wordpiece)),
        )

    def text(self, stored: tuple[bytes, int], sample: str, epoch: int) -> tuple[bytes, int]:
        return stored

    def tensor(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows)


@dataclass(frozen=True)
class VariedTexts(TokenTexts):
    """Token ids whose words every epoch changes anew."""

    corruption: Corruption

    def text(self, stored: tuple[bytes, int], sample: str, epoch: int) -> tuple[bytes, int]:
        ids, length = stored
        found = self.corruption(np.frombuffer(ids, self.dtype)[:length], sample, epoch)
        return np.pad(found, (0, self.length - len(found))).tobytes(), len(found)


@dataclass(frozen=True)
class FeatureTexts:
    """fp16 features (L, D) of a frozen text encoder, one block of them for each caption, from the part named `part`."""

    part: str
    shape: tuple[int, ...]

    dtype = np.dtype(np.float16)

    def read(self, dataset: Dataset, item: int, group: int, captions: list[list[str]]) -> list[list[tuple[bytes, int]]]:
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        stored = dataset.read_group(item, group, self.part, ["features", "lengths"]).to_pylist()
        return [
            [(row["features"][n * size : (n + 1) * size], int(count)) for n, count in enumerate(counts)]
            for row in stored
            for counts in (np.frombuffer(row["lengths"], np.int32),)
        ]

    def text(self, stored: tuple[bytes, int], sample: str, epoch: int) -> tuple[bytes, int]:
        return stored

    def tensor(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows.astype(np.float32))


class Group(NamedTuple):
    """A row group in a reader's memory."""

    records: list[dict[str, Any]]
    captions: list[list[dict[str, Any]]]
    caption_ids: list[list[bytes]]
    images: list[bytes]
    texts: list[list[tuple[bytes, int]]]
    words: list[list[bytes]]


class Sample(NamedTuple):
    """A row as it travels; bytes are of fixed length."""

    image: bytes
    text: bytes
    text_length: int
    caption: bytes
    image_codes: bytes
    text_codes: bytes
    sample_id: int
    caption_id: int
    sequence_id: int
    words: bytes


@dataclass(frozen=True)
class SampleReader:
    """Turns stored rows into samples, and columns of samples into batches."""

    images: PixelImages | FeatureImages
    texts: TokenTexts | FeatureTexts
    wordpiece: str
    caption_length: int
    attributes: int
    seed: int
    words: CaptionWords | NoWords = NO_WORDS

    @property
    def row_bytes(self) -> int:
        """Bytes of a row's two large columns."""
        return sum(int(np.prod(side.shape)) * side.dtype.itemsize for side in (self.images, self.texts))

    def read_group(self, dataset: Dataset, item: int, group: int) -> Group:
        columns = [*RECORD_COLUMNS, *self.words.columns]
        records = dataset.read_group(item, group, "records", columns).to_pylist()
        captions = [json.loads(record["captions"]) for record in records]
        images = dataset.read_group(item, group, self.images.part, [self.images.column])[self.images.column].to_pylist()
        said = [[one["text"] for one in each] for each in captions]
        texts, words = self.texts.read(dataset, item, group, said), self.words.of(records, said)
        return Group(records, captions, self._caption_ids(said), images, texts, words)

    def sample(self, group: Group, row: int, epoch: int) -> Sample:
        record, choice = group.records[row], self._choice(group, row, epoch)
        name, caption = record["sample_id"], group.captions[row][choice]
        text, length = self.texts.text(group.texts[row][choice], name, epoch)
        return Sample(
            image=self.images.image(group.images[row], name, epoch),
            text=text,
            text_length=length,
            caption=group.caption_ids[row][choice],
            image_codes=padded_codes(np.frombuffer(record["codes"], np.int32).tolist(), self.attributes).tobytes(),
            text_codes=padded_codes(caption["codes"], self.attributes).tobytes(),
            sample_id=identifier(name),
            caption_id=caption_identifier(caption["text"]),
            sequence_id=sequence_identifier(record["survey"], record["event_id"]),
            words=group.words[row][choice],
        )

    def text_length(self, group: Group, row: int, epoch: int) -> int:
        """Tokens of the text that an epoch reads of a row, before its words are varied."""
        return group.texts[row][self._choice(group, row, epoch)][1]

    def _choice(self, group: Group, row: int, epoch: int) -> int:
        return caption_choice(len(group.captions[row]), self.seed, epoch, group.records[row]["sample_id"])

    def _caption_ids(self, captions: list[list[str]]) -> list[list[bytes]]:
        """WordPiece ids of every caption of a row group, all in one call."""
        length, wordpiece = self.caption_length, _wordpiece(self.wordpiece)
        known = _known(f"captions {self.wordpiece}", length, lambda: partial(wordpiece.encode, length=length))
        flat = iter(known([text for texts in captions for text in texts]))
        return [[next(flat)[0] for _ in texts] for texts in captions]

    def columns(self, samples: list[Sample]) -> dict[str, pa.Array]:
        """The samples as Arrow columns: fixed-size binary for arrays, int64 for ids."""
        by_name = {name: [getattr(sample, name) for sample in samples] for name in Sample._fields}
        return {
            name: pa.array(values, pa.binary(len(values[0])) if isinstance(values[0], bytes) else pa.int64())
            for name, values in by_name.items()
        }

    def batch(self, rows: pa.Table, step: int) -> Batch:
        """Rows of a block as a Batch; texts and captions are trimmed to the longest among them."""
        text_length = torch.from_numpy(rows["text_length"].to_numpy().copy())
        caption = torch.from_numpy(_view(rows["caption"], np.dtype(np.int64), (self.caption_length,)))
        longest = int((caption != 0).sum(1).max())
        length = int(text_length.max())
        text = self.texts.tensor(_view(rows["text"], self.texts.dtype, self.texts.shape))
        ids: dict[str, Any] = {
            name: torch.from_numpy(rows[name].to_numpy().copy()) for name in ("sample_id", "caption_id", "sequence_id")
        }
        codes: dict[str, Any] = {
            name: torch.from_numpy(_view(rows[name], np.dtype(np.int32), (self.attributes,)))
            for name in ("image_codes", "text_codes")
        }
        return Batch(
            image=self.images.tensor(_view(rows["image"], self.images.dtype, self.images.shape)),
            text=text[:, :length],
            text_mask=torch.arange(length) < text_length[:, None],
            caption=caption[:, :longest],
            words=self.words.tensor(_view(rows["words"], np.dtype(np.uint8), (self.words.bytes,)), length),
            valid=torch.from_numpy(rows["valid"].to_numpy().copy()),
            slot=torch.from_numpy(rows["slot"].to_numpy().copy()),
            step=step,
            **ids,
            **codes,
        )


def _view(column: pa.ChunkedArray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """(rows, *shape) copy of a fixed-size binary column."""
    chunks = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
        for chunk in column.chunks
        for width in (chunk.type.byte_width,)
    ]
    return np.concatenate(chunks).view(dtype).reshape(-1, *shape)


_known_texts: dict[tuple[str, int], KnownTexts] = {}


def _known(what: str, length: int, encoder: Callable[[], Encode]) -> KnownTexts:
    """What is known of texts as `what`, once a process."""
    if (what, length) not in _known_texts:
        _known_texts[what, length] = KnownTexts(encoder(), length)
    return _known_texts[what, length]


_wordpieces: dict[str, WordPiece] = {}


def _wordpiece(document: str) -> WordPiece:
    """The vocabulary of a document, parsed once a process."""
    if document not in _wordpieces:
        _wordpieces[document] = WordPiece.from_json(document)
    return _wordpieces[document]
