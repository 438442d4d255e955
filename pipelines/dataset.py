"""A dataset version as its readers see it: items with their parts, records as tables, row groups, vocabularies."""

import hashlib
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.storage import Store
from pipelines.errors import NotFound
from pipelines.prepare import versions as documents
from pipelines.prepare.parts import GROUP_ROWS, LEDGER, PIXELS, RECORDS, with_new_columns
from xmodal.settings import SettingsError
from xmodal.wordpiece import WordPiece

OPEN_FILES = 256
"""Parts kept open by one Dataset: their footers are read once."""


@dataclass(frozen=True)
class Part:
    """One immutable Parquet file; `path` is relative to the dataset."""

    path: str
    sha256: str
    bytes: int
    rows: int

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Part":
        return cls(entry["path"], entry["sha256"], entry["bytes"], entry["rows"])


@dataclass(frozen=True)
class Item:
    """Up to 1,024 images: a pixel part, the record part with the same rows, and feature parts by encoder identity."""

    index: int
    survey: str
    rows: int
    pixels: Part
    records: Part
    features: dict[str, Part]

    def part(self, kind: str) -> Part:
        """pixels, records, or an encoder's identity."""
        return {"pixels": self.pixels, "records": self.records, **self.features}[kind]


@dataclass(frozen=True)
class Feature:
    """The cached output of one frozen encoder; `shape` is (R, D) of an image, (L, D) of a caption."""

    encoder: str
    kind: str
    shape: tuple[int, ...]


def versions(store: Store, name: str) -> list[int]:
    """Numbers of the versions of a dataset that are not retired; empty where there is no such dataset."""
    return [document["version"] for document in documents.live(documents.home(store, name))]


class Dataset:
    """One version. Pickles as its address; every process opens its own files."""

    def __init__(self, store: Store, name: str, document: documents.Document):
        self.store, self.name, self.document = store, name, document
        self._home = documents.home(store, name)
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()

    @classmethod
    def open(cls, store: Store, name: str, version: int | None = None) -> "Dataset":
        """The version of that number, else the newest. Raises NotFound."""
        home = documents.home(store, name)
        document = documents.latest(home) if version is None else documents.read(home, version)
        if document is None:
            raise NotFound(f"{home.url}: no dataset {name} here; run xmodal prepare")
        return cls(store, name, document)

    @classmethod
    def named(cls, store: Store, text: str) -> "Dataset":
        """The one that `--dataset` names: NAME@NUMBER, or NAME: its newest. Raises NotFound, SettingsError."""
        name, _, version = text.partition("@")
        if version and not version.isdigit():
            raise SettingsError(f"--dataset {text}: a version is a number, as {name}@3")
        return cls.open(store, name, int(version) if version else None)

    def __reduce__(self) -> tuple[Any, tuple[Store, str, int]]:
        return Dataset.open, (self.store, self.name, self.version)

    @property
    def version(self) -> int:
        return self.document["version"]

    @property
    def digest(self) -> str:
        """SHA-256 of the version's content."""
        return self.document["digest"]

    @property
    def counts(self) -> dict[str, int]:
        """Images by split."""
        return self.document["counts"]

    @property
    def pixel_size(self) -> int:
        """Side of the stored images, in pixels."""
        return self.document["prepare"]["settings"]["pixels"]["size"]

    @cached_property
    def items(self) -> list[Item]:
        """In the order of their index."""
        records = {(part["survey"], part["item"]): part for part in self.document["records"]}
        features: dict[tuple[str, str], dict[str, Part]] = {}
        for one in self.document["features"]:
            for part in one["parts"]:
                features.setdefault((part["survey"], part["item"]), {})[one["encoder"]] = Part.of(part)
        found = []
        for index, part in enumerate(self.document["pixels"]):
            name = (part["survey"], part["item"])
            parts = (Part.of(part), Part.of(records[name]), features.get(name, {}))
            found.append(Item(index, part["survey"], part["rows"], *parts))
        return found

    def feature(self, encoder: str) -> Feature:
        """The cached features of the encoder of that identity. Raises NotFound."""
        for one in self.document["features"]:
            if one["encoder"] == encoder:
                return Feature(encoder, one["kind"], tuple(one["shape"]))
        raise NotFound(
            f"dataset {self.name} version {self.version}: no features of encoder {encoder}; "
            "run xmodal prepare with this recipe"
        )

    def records(self, columns: list[str] | None = None, split: str | None = None) -> pa.Table:
        """RECORDS columns (all where None) of every row, or of one split, with its int32 `item` and `row`."""
        wanted = list(RECORDS.names if columns is None else columns)
        read = list(dict.fromkeys([*wanted, "split"]))
        with ThreadPoolExecutor(8) as pool:
            tables = list(pool.map(lambda item: self._located(item, read), self.items))
        empty = pa.schema(
            [*(RECORDS.field(name) for name in read), ("item", pa.int32()), ("row", pa.int32())]
        ).empty_table()
        table = pa.concat_tables([empty, *tables])
        table = table if split is None else table.filter(pc.field("split") == split)
        return table.select([*wanted, "item", "row"]).combine_chunks()

    def _located(self, item: Item, columns: list[str]) -> pa.Table:
        file = self._file(item.records.path)
        table = with_new_columns(
            file.read([name for name in columns if name in file.schema_arrow.names]), columns, RECORDS
        )
        table = table.append_column("item", pa.array([item.index] * len(table), pa.int32()))
        return table.append_column("row", pa.array(range(len(table)), pa.int32()))

    def read_group(self, item: int, group: int, kind: str, columns: list[str] | None = None) -> pa.Table:
        """Row group `group` (128 rows) of an item's part: `kind` is pixels, records or an encoder's identity."""
        path = self.items[item].part(kind).path
        if path not in self._open:
            self._open[path] = self._file(path)
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        file = self._open[path]
        schema = {"pixels": PIXELS, "records": RECORDS}.get(kind, file.schema_arrow)
        wanted = columns or schema.names
        there = [name for name in wanted if name in file.schema_arrow.names]
        return with_new_columns(file.read_row_group(group, there), wanted, schema)

    def read_item(self, item: int, kind: str, columns: list[str]) -> pa.Table:
        """Columns of all rows of an item's part."""
        groups = range(-(-self.items[item].rows // GROUP_ROWS))
        return pa.concat_tables([self.read_group(item, group, kind, columns) for group in groups])

    def _file(self, path: str) -> pq.ParquetFile:
        system, root = self._files
        return pq.ParquetFile(system.open_input_file(f"{root}/{path}"))

    @cached_property
    def _files(self) -> tuple[Any, str]:
        return self._home.filesystem()

    def ledger(self, columns: list[str] | None = None) -> pa.Table:
        """LEDGER rows (all columns where None) of every file listed, sorted by survey and key."""
        wanted = list(LEDGER.names if columns is None else columns)
        read = list(dict.fromkeys([*wanted, "survey", "key"]))
        with ThreadPoolExecutor(8) as pool:
            tables = list(pool.map(lambda part: self._ledger_part(part["path"], read), self.document["ledger"]))
        empty = pa.schema([LEDGER.field(name) for name in read]).empty_table()
        table = pa.concat_tables([empty, *tables]).sort_by([("survey", "ascending"), ("key", "ascending")])
        return table.select(wanted)

    def _ledger_part(self, path: str, columns: list[str]) -> pa.Table:
        file = self._file(path)
        return with_new_columns(
            file.read([name for name in columns if name in file.schema_arrow.names]), columns, LEDGER
        )

    def wordpiece(self) -> WordPiece:
        """The vocabulary trained on the train split's captions."""
        return WordPiece.from_json(self._vocabulary("wordpiece"))

    def attributes(self) -> dict[str, list[str]]:
        """Attribute to values, in the order of the codes; a value's code is its position."""
        return json.loads(self._vocabulary("attributes"))["attributes"]

    def _vocabulary(self, kind: str) -> str:
        entry = next(one for one in self.document["vocabularies"] if one["kind"] == kind)
        return self._home.read(entry["path"]).decode()

    def check(self, read_data: bool = False) -> list[str]:
        """Every problem found, one line each; with `read_data` every byte is read and hashed."""
        return check(self, self._home, read_data)


def check(dataset: Dataset, home: Store, read_data: bool) -> list[str]:
    """Sizes (or hashes) of all parts, the document's own digest, ledger against listing, pixels against records, and
    that no two images are one sample."""
    document = dataset.document
    named = documents.entries(document)
    with ThreadPoolExecutor(8) as pool:
        problems = [text for text in pool.map(lambda entry: _damage(home, entry, read_data), named) if text]
    if documents.content_digest(document) != document["digest"]:
        problems.append(f"versions/{dataset.version}: the document is not what its digest says")
    if problems:
        return problems
    problems += [text for survey in document["surveys"] if (text := _miscounted(survey, dataset.ledger()))]
    encoders = {one["encoder"] for one in document["features"]}
    problems += [f"item {item.index}: no features" for item in dataset.items if item.features.keys() != encoders]
    problems += _shared_names(dataset)
    return problems + [
        f"item {item.index}: pixels and records do not align" for item in dataset.items if not _aligned(dataset, item)
    ]


def _damage(home: Store, entry: dict[str, Any], read_data: bool) -> str | None:
    found = home.head(entry["path"])
    if found is None:
        return f"{entry['path']}: missing"
    if found.size != entry["bytes"]:
        return f"{entry['path']}: {found.size} bytes instead of {entry['bytes']}"
    if read_data and hashlib.sha256(home.read(entry["path"])).hexdigest() != entry["sha256"]:
        return f"{entry['path']}: damaged, its bytes are not those that were written"
    return None


def _miscounted(survey: dict[str, Any], ledger: pa.Table) -> str | None:
    """A ledger that does not have a row for each listed file, or another listing's files."""
    rows = ledger.filter((pc.field("survey") == survey["name"]) & (pc.field("status") != "gone"))
    listed = [row for row in rows.select(["key", "etag", "size"]).to_pylist() if row["etag"] is not None]
    digest = documents.listing_digest((row["key"], row["etag"], row["size"]) for row in listed)
    if len(listed) != survey["files"] or digest != survey["listing"]:
        return f"ledger of {survey['name']}: {len(listed)} rows for {survey['files']} listed files, or other files"
    return None


def _shared_names(dataset: Dataset) -> list[str]:
    """A line where two images are one sample."""
    ids = dataset.records(["sample_id"])["sample_id"].value_counts()
    shared = ids.filter(pc.greater(ids.field("counts"), 1)).field("values")  # pyright: ignore[reportAttributeAccessIssue]
    return [f"records: {len(shared):,} sample ids are of several images, as {shared[0]}"] if len(shared) else []


def _aligned(dataset: Dataset, item: Item) -> bool:
    names = [dataset._file(part.path).read(["sample_id"])["sample_id"] for part in (item.pixels, item.records)]
    return names[0].equals(names[1])
