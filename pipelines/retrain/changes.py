"""What has changed between two versions of a dataset: images that are new, and labels that are."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import Dataset
from pipelines.prepare.parts import RECORDS
from pipelines.taxa import class_of, species_facts

COLUMNS = ["sample_id", "survey", "place", "split", "facts", "captions"]
USED = ("train", "val", "test", "cis_val", "cis_test")


@dataclass(frozen=True)
class Changes:
    """Rows of the later version beside those of the earlier one."""

    rows: pa.Table
    """COLUMNS, item and row, and of each row its `label` and its label `before`: null where it was not there."""
    old: pa.Table
    """COLUMNS of the earlier version, with its `label`."""

    @cached_property
    def labelled(self) -> pa.Table:
        """Rows in use whose label is new or another one."""
        label, before = pc.field("label"), pc.field("before")
        changed = before.is_null() | (label != before)
        return self.rows.filter(changed & (label != "") & pc.field("split").isin(USED))

    @cached_property
    def counted(self) -> dict[str, Any]:
        """What there is to tell, as JSON data."""
        came, labelled = self.rows.filter(pc.field("before").is_null()), self.labelled
        stayed = pc.field("sample_id").isin(self.rows["sample_id"].combine_chunks())
        return {
            "new_media": len(came),
            "gone_media": len(self.old.filter(~stayed)),
            "labelled": len(labelled),
            "labelled_train": len(labelled.filter(pc.field("split") == "train")),
            "corrected": len(labelled.filter(pc.field("before") != "")),
            "surveys": _new(came["survey"], self.old["survey"]),
            "places": len(_new(came["place"], self.old["place"])),
            "species": sorted(_species(labelled) - _species(self.old)),
        }


def changes(dataset: Dataset, earlier: Dataset | None) -> Changes:
    """From `earlier`, or from nothing, to `dataset`."""
    old = _with_labels(earlier) if earlier else _with_labels_empty()
    before = old.select(["sample_id", "label"]).rename_columns(["sample_id", "before"])
    rows = _with_labels(dataset).join(before, "sample_id", join_type="left outer")
    return Changes(rows.sort_by([("item", "ascending"), ("row", "ascending")]), old)


def _with_labels(dataset: Dataset) -> pa.Table:
    table = dataset.records(COLUMNS)
    coded = table["facts"].combine_chunks().dictionary_encode()  # many rows, few documents
    labels = pa.array([class_of(json.loads(document)) for document in coded.dictionary.to_pylist()], pa.string())
    return table.append_column("label", labels.take(coded.indices) if len(labels) else pa.nulls(0, pa.string()))


def _with_labels_empty() -> pa.Table:
    fields = [RECORDS.field(name) for name in COLUMNS]
    return pa.schema([*fields, ("item", pa.int32()), ("row", pa.int32()), ("label", pa.string())]).empty_table()


def _new(now: pa.ChunkedArray, before: pa.ChunkedArray) -> list[str]:
    return sorted({one for one in now.unique().to_pylist() if one} - set(before.unique().to_pylist()))


def _species(rows: pa.Table) -> set[str]:
    return set(species_facts(rows["facts"].unique().to_pylist()))
