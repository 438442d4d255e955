"""The ledger: one row for every file listed, and for every file that metadata name or an earlier version held.

Parts are cut by the hash of the key. A row that has not changed keeps the time and run of its last change, so a part
without changed rows keeps its bytes.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.prepare.before import Before
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import MANY, each, rising, taken
from pipelines.prepare.digests import share
from pipelines.prepare.items import sample_id
from pipelines.prepare.listing import TAKEN_DOWN
from pipelines.prepare.parts import LEDGER, entry_of, parquet_file, put_part, read_batches
from pipelines.prepare.spill import spilled

MOST_ROWS = 500_000
"""Rows of a part on average, at most."""
STAMPS = ("seen_at", "prepare_id")
UNREAD = ("withheld", "metadata")
"""Reasons that say nothing about the quality of an archive."""
UNWANTED = ("withheld", "taken_down")
"""Reasons for which a file that was taken once must leave: privacy, and takedown lists."""

Row = dict[str, Any]
Ledger = Mapping[str, pa.Table]
"""LEDGER rows by survey, each sorted by key."""


def by_survey(home: Store, parts: Iterable[Row]) -> Before:
    """A version's ledger as what the next one starts from, in temporary files."""
    own: dict[str, list[pa.Table]] = {}
    for part in parts:
        table = spilled(read_batches(home, part["path"], LEDGER), LEDGER)
        own.setdefault(part["survey"], []).append(table if rising(table["key"]) else table.sort_by("key"))
    return Before(own)


def stamped(ledger: Ledger, before: Before, seen_at: datetime, prepare_id: str) -> Ledger:
    """The rows with time and run: those of the parent's row where nothing else has changed."""
    new = {"seen_at": pa.scalar(seen_at, LEDGER.field("seen_at").type), "prepare_id": pa.scalar(prepare_id)}
    return {survey: spilled(_stamped(survey, table, before, new), LEDGER) for survey, table in ledger.items()}


def _stamped(survey: str, table: pa.Table, before: Before, new: Mapping[str, pa.Scalar]) -> Iterator[pa.RecordBatch]:
    places = before.named(survey, table["key"])
    for start in range(0, len(table), MANY):
        rows, old = table.slice(start, MANY), before.taken(survey, places[start : start + MANY])
        same = pc.is_valid(old["key"])
        for name in LEDGER.names:
            if name not in STAMPS:
                same = pc.and_(same, _equal(rows[name], old[name]))
        stamps = {name: pc.if_else(same, old[name], value) for name, value in new.items()}
        columns = {name: stamps.get(name, rows[name]) for name in LEDGER.names}
        yield from pa.table(columns, LEDGER).combine_chunks().to_batches()


def _equal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> Any:
    """Whether values are equal, or both null."""
    return pc.or_(pc.equal(one, other).fill_null(False), pc.and_(one.is_null(), other.is_null()))


def must_leave(row: Row) -> bool:
    """Whether no version may hold the file any more."""
    return row["status"] == "withdrawn" or row["reason"] in UNWANTED


def gone(ledger: Ledger, before: Before, withdrawn: Container[tuple[str, str]] = ()) -> Ledger:
    """Rows of files that an earlier version held and that are neither listed nor named any more; one that had to leave
    still has to, and those that are `withdrawn`, by survey and key, say so, lest their bytes come back."""
    found = {}
    for survey in before.tables:
        kept = before.lacking(survey, ledger.get(survey, LEDGER.empty_table())["key"])
        reasons = [
            TAKEN_DOWN if (survey, row["key"]) in withdrawn else row["reason"] if must_leave(row) else None
            for batch in kept.select(["key", "status", "reason"]).to_batches(MANY)
            for row in batch.to_pylist()
        ]
        told = {
            "reason": pa.array(reasons, pa.string()),
            "status": pa.repeat(pa.scalar("gone"), len(kept)),
            "item": pa.nulls(len(kept), pa.string()),
            "event": pa.nulls(len(kept), pa.string()),
        }
        found[survey] = pa.table({name: told.get(name, kept[name]) for name in LEDGER.names}, LEDGER)
    return found


def together(one: Ledger, other: Ledger) -> Ledger:
    """The rows of both, which share no key."""
    found = {}
    for survey in sorted(one.keys() | other.keys()):
        tables = [ledger[survey] for ledger in (one, other) if survey in ledger and len(ledger[survey])]
        whole = pa.concat_tables([LEDGER.empty_table(), *tables])
        found[survey] = _sorted(whole) if len(tables) > 1 else whole
    return found


def _sorted(rows: pa.Table) -> pa.Table:
    """By key, in a temporary file."""
    order = pc.sort_indices(rows["key"]).to_numpy()
    return spilled(_some(rows, order), LEDGER)


def _some(rows: pa.Table, order: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The rows at some positions, a few in memory at a time."""
    for start in range(0, len(order), MANY):
        yield from taken(rows, order[start : start + MANY]).combine_chunks().to_batches()


def write(home: Store, ledger: Ledger, parent: list[Row]) -> list[Row]:
    """Entries of all ledger parts; a part that the parent has under the same name is not written again."""
    known = {part["path"]: part for part in parent}
    entries = []
    for survey, table in sorted(ledger.items()):
        buckets = 1 << max(0, -(-len(table) // MOST_ROWS) - 1).bit_length()
        own = bucket_of(table, buckets)
        for bucket in np.unique(own).tolist():
            entries.append(_put(home, survey, bucket, table, np.flatnonzero(own == bucket), known))
    return entries


def bucket_of(table: pa.Table, buckets: int) -> np.ndarray:
    """(rows,) the part of each row, by the hash of its key."""
    if buckets == 1:
        return np.zeros(len(table), np.int32)
    hashed = (int(share(0, "bucket", key) * buckets) for (key,) in each(table, ["key"]))
    return np.fromiter(hashed, np.int32, len(table))


def _put(home: Store, survey: str, bucket: int, table: pa.Table, own: np.ndarray, known: dict[str, Row]) -> Row:
    """The part of the rows `own` of a survey."""
    name = f"{survey}-{bucket}"
    with parquet_file(_some(table, own), LEDGER) as data:
        inherited = known.get(entry_of(f"ledger/{name}", "parquet", data)["path"])
        return inherited or put_part(home, "ledger", name, data, len(own), survey=survey, bucket=bucket)


def counts(rows: pa.Table) -> dict[str, int]:
    """Rows by status, and by reason within it: {"ok": 5, "rejected/empty": 1}."""
    found = rows.group_by(["status", "reason"]).aggregate([([], "count_all")])
    pairs = {
        f"{status}/{reason}" if reason else status: count for status, reason, count in each(found, found.column_names)
    }
    return dict(sorted(pairs.items()))


def check_complete(ledger: Ledger, parts: Iterable[Row], listed: Mapping[str, int]) -> None:
    """Asserts one row a file before anything is committed: every survey has as many rows of listed files as its archive
    listed (counted while it did), no file two rows, and the parts hold all rows."""
    found = Counter({survey: _listed(rows) for survey, rows in ledger.items()})
    if found != Counter(listed) or not all(rising(rows["key"]) for rows in ledger.values()):
        raise AssertionError(f"the ledger has {dict(found)} rows for {dict(listed)} listed files; nothing is committed")
    whole, written = Counter({survey: len(rows) for survey, rows in ledger.items()}), Counter[str]()
    for part in parts:
        written[part["survey"]] += part["rows"]
    if written != whole:
        raise AssertionError(f"the ledger's parts hold {dict(written)} of {dict(whole)} rows; nothing is committed")


def check_names(ledger: Ledger) -> None:
    """Asserts that no two images are one sample before anything is committed. Of each only 64 bits are held."""
    names = (sample_id(*name) for rows in ledger.values() for name in _images(rows))
    bits = np.fromiter((int(name[:16], 16) for name in names), np.uint64)
    bits.sort()
    if (same := bits[1:] == bits[:-1]).any():
        raise AssertionError(f"{same.sum()} images have another one's sample id; nothing is committed")


def _images(rows: pa.Table) -> Iterator[tuple[str, str]]:
    """Survey and media id of every image."""
    named = each(rows, ["survey", "media_id", "status"])
    return ((survey, media_id) for survey, media_id, status in named if status == "ok")


def _listed(rows: pa.Table) -> int:
    """How many are of files that the archive listed now."""
    there = pc.and_(rows["etag"].is_valid(), pc.not_equal(rows["status"], "gone"))
    return pc.sum(there).as_py() or 0


def check_quality(survey: str, rows: pa.Table, limit: float) -> None:
    """Raises DataRefused where too large a share of a survey's files gave no image, with the worst offenders: reasons
    with examples, and folders."""
    unread = pc.is_in(rows["reason"], pa.array(UNREAD))
    other_file = pc.and_(pc.equal(rows["reason"], "not_image").fill_null(False), rows["sha256"].is_null())
    rejected, good = (pc.equal(rows["status"], status) for status in ("rejected", "ok"))
    bad = rows.select(["key", "reason"]).filter(pc.and_not(rejected, pc.or_(unread, other_file)))
    considered = len(bad) + (pc.sum(good).as_py() or 0)
    if considered and (considered == len(bad) or len(bad) > limit * considered):
        reasons = Counter(reason for (reason,) in each(bad, ["reason"]))
        told = "; ".join(
            f"{reason} {count} ({', '.join(_examples(bad, reason))})" for reason, count in reasons.most_common(3)
        )
        raise DataRefused(
            f"survey {survey}: {len(bad)} of {considered} files gave no image, "
            f"more than data.max_bad_share {limit:g}: {told}; {_worst_folders(bad, rows.select(['key']).filter(good))}"
        )


def _examples(rows: pa.Table, reason: str) -> list[str]:
    return rows.filter(pc.equal(rows["reason"], reason))["key"][:5].to_pylist()


def _worst_folders(bad: pa.Table, good: pa.Table) -> str:
    """The three folders with most bad files, beside how many images they hold."""
    counts, images = (Counter(_folder(key) for (key,) in each(some, ["key"])) for some in (bad, good))
    told = ", ".join(f"{name} ({count} of {count + images[name]})" for name, count in counts.most_common(3))
    return f"worst folders: {told}"


def _folder(key: str) -> str:
    return key.rpartition("/")[0] or "the archive's root"
