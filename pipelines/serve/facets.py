"""Filters: what the images can be narrowed to, how many there are of each, and which images are left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.prepare import cameras
from pipelines.serve.index import Index
from xmodal.settings import SettingsError

NAMED = ("label", "answer", "survey", "place", "light", "split")
"""Filters by name. `answer` is what the model says: its taxon, else the kind of frame."""
UNKNOWN = "unknown"
"""The name of what nobody knows."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Facets:
    """Of every image a number for each named filter, its time and the model's confidence."""

    codes: Mapping[str, NDArray[np.int32]]
    names: Mapping[str, list[str]]
    """Names of the numbers, the most frequent first."""
    seconds: NDArray[np.float64]
    """Wall time; NaN = unknown."""
    confidence: NDArray[np.float64]
    """Of the model's surest species; NaN = not known."""

    @classmethod
    def of(cls, index: Index) -> "Facets":
        about, codes, names = index.about, {}, {}
        answer = pc.coalesce(about["taxon"], about["common_name"], about["type"])  # pyright: ignore
        columns = {name: answer if name == "answer" else about[name] for name in NAMED}
        for name, column in columns.items():
            codes[name], names[name] = _coded(column)
        confidence = about["species_confidence"].to_numpy().astype(np.float64)
        return cls(codes, names, cameras.seconds(about["captured_at"]), confidence)

    def counts(self) -> dict[str, list[tuple[str, int]]]:
        """Of each named filter its names with their images."""
        found = {}
        for name, code in self.codes.items():
            counted = np.bincount(code, minlength=len(self.names[name])).tolist()
            found[name] = list(zip(self.names[name], counted, strict=True))
        return found

    def kept(self, asked: Mapping[str, Any]) -> NDArray[np.int64]:
        """Positions of the images that all of `asked` leaves: names of `NAMED`, `least` and `most` confidence (0..1),
        `since` and `until` (dates, both included). Raises SettingsError, which names what is wrong."""
        mask = np.ones(len(self.seconds), bool)
        for name in NAMED:
            if asked.get(name):
                mask &= self.codes[name] == self._code(name, asked[name])
        for mine in self._within(asked):
            mask &= mine
        return np.flatnonzero(mask)

    def _code(self, name: str, value: str) -> int:
        try:
            return self.names[name].index(value)
        except ValueError:
            raise SettingsError(f"{name}: no image has {value!r}") from None

    def _within(self, asked: Mapping[str, Any]) -> list[Mask]:
        found = []
        if asked.get("least") is not None:
            found.append(self.confidence >= asked["least"])
        if asked.get("most") is not None:
            found.append(self.confidence <= asked["most"])
        if asked.get("since"):
            found.append(self.seconds >= _day(asked["since"]))
        if asked.get("until"):
            found.append(self.seconds < _day(asked["until"]) + 86400)
        return found


def _coded(column: Any) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers by falling frequency, ties by name; null counts as UNKNOWN."""
    known = column.fill_null(UNKNOWN)
    counted = pc.value_counts(known).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    order = sorted(counted, key=lambda one: (-one["counts"], one["values"]))
    names = [one["values"] for one in order]
    found = pc.index_in(known, value_set=pa.array(names, pa.string()))  # pyright: ignore
    return found.to_numpy().astype(np.int32), names


def _day(text: str) -> float:
    (found,) = cameras.seconds(pa.chunked_array([[f"{text} 00:00:00"]], pa.string())).tolist()
    if found != found:
        raise SettingsError(f"{text!r} is not a date, as 2026-05-01")
    return found
