"""What stands in two splits of a dataset version: counted from columns of its records and ledger, no image is read.

What must be apart depends on how the version was split. By place: places (the cis sets are at training places, so they
count as train there), events, files (equal bytes), and between train and the cis sets the days of a place. By time:
events, files, and between train and val the days of a place. As published: events and files. A day counts by its rows
without an event and by events that lie within one day of one place; an event across midnight counts as an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.prepare.assigned import NONE, SPLITS
from pipelines.prepare.days import straddling
from pipelines.prepare.placed import usable_date
from pipelines.prepare.units import coded, joined

Sides = tuple[int, ...]
"""For each of SPLITS the side it counts to; NONE counts nowhere."""
ALL: Sides = (0, 1, 2, 3, 4)
APART: dict[str, dict[str, Sides]] = {
    "place": {"places": (0, 1, 2, 0, 0), "events": ALL, "files": ALL, "days": (0, NONE, NONE, 3, 4)},
    "time": {"events": ALL, "files": ALL, "days": (0, 1, NONE, NONE, NONE)},
    "published": {"events": ALL, "files": ALL},
}
"""By split policy and what is counted."""
COLUMNS = ["survey", "media_id", "place", "event_id", "captured_at", "split"]


@dataclass(frozen=True)
class Crossing:
    """Places, events, files or days that stand in two splits: how many, and the two in which most of them stand."""

    what: str
    count: int
    between: tuple[str, str] | None


def leakage(dataset: Dataset) -> list[Crossing]:
    """One Crossing for everything that must be apart; a count of zero is what every version should have."""
    records = dataset.records(COLUMNS)
    split = _split(records)
    links = _links(records, dataset.ledger(["survey", "media_id", "sha256", "status", "clock_flags"]))
    apart = APART[dataset.document["split"]["policy"]]
    return [_crossing(what, links[what], split, sides) for what, sides in apart.items()]


def told(found: list[Crossing]) -> str:
    """`0 places, 0 events, ...`, with the two splits where it is not zero."""
    between = {one.what: f" ({' and '.join(one.between)})" if one.between else "" for one in found}
    return ", ".join(f"{one.count:,} {one.what}{between[one.what]}" for one in found)


def refuse_leaks(dataset: Dataset) -> None:
    """Raises DataRefused where something stands in two splits, with the worst of it."""
    worst = max(leakage(dataset), key=lambda one: one.count)
    if worst.between:
        raise DataRefused(
            f"dataset {dataset.name} version {dataset.version}: {worst.count:,} {worst.what} stand in two splits, most "
            f"in {' and '.join(worst.between)}; a model would be tested on what it was trained on: prepare it again"
        )


def _split(records: pa.Table) -> np.ndarray:
    """(rows,) codes of SPLITS."""
    code = pc.index_in(records["split"], pa.array(SPLITS))  # pyright: ignore[reportAttributeAccessIssue]
    return code.fill_null(NONE).to_numpy().astype(np.int64)


def _links(records: pa.Table, ledger: pa.Table) -> Mapping[str, np.ndarray]:
    """What is counted to (rows,) codes, NONE where a row has none."""
    ledger = ledger.filter(pc.field("status") == "ok")
    names = (joined(table["survey"], table["media_id"]) for table in (records, ledger))
    known = ledger.take(pc.index_in(*names))  # pyright: ignore[reportAttributeAccessIssue]
    pairs = zip(records["captured_at"].to_pylist(), known["clock_flags"].to_pylist(), strict=True)
    dates = pa.array((usable_date(*pair) for pair in pairs), pa.string())
    events, event = coded(records["survey"], records["event_id"])
    anywhere = pc.coalesce(records["place"], pa.scalar(""))  # pyright: ignore[reportAttributeAccessIssue]
    crossed = np.append(straddling(event, coded(anywhere, dates)[1], len(events)), False)[event]
    return {
        "places": coded(records["place"])[1],
        "events": event,
        "files": coded(known["sha256"])[1],
        "days": np.where(crossed, NONE, coded(records["place"], dates)[1]),
    }


def _crossing(what: str, link: np.ndarray, split: np.ndarray, sides: Sides) -> Crossing:
    side = np.append(sides, NONE)[split]
    bound = (link != NONE) & (side != NONE)
    stands = np.zeros((int(link.max(initial=NONE)) + 1, len(SPLITS)), bool)
    stands[link[bound], side[bound]] = True
    pairs = {
        (SPLITS[one], SPLITS[other]): int((stands[:, one] & stands[:, other]).sum())
        for one in range(len(SPLITS))
        for other in range(one + 1, len(SPLITS))
    }
    count = int((stands.sum(axis=1) > 1).sum())
    return Crossing(what, count, max(pairs, key=lambda pair: pairs[pair]) if count else None)
