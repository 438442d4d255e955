"""The ledger: one row for every file listed, and for every file that metadata name or an earlier version held.

Parts are cut by the hash of the key. A row that has not changed keeps the time and run of its last change, so a part
without changed rows keeps its bytes.
"""

from collections import Counter
from collections.abc import Container, Iterable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.prepare.digests import share
from pipelines.prepare.listing import TAKEN_DOWN
from pipelines.prepare.parts import LEDGER, entry_of, parquet, put_part

MOST_ROWS = 500_000
"""Rows of a part on average, at most."""
STAMPS = ("seen_at", "prepare_id")
UNREAD = ("withheld", "metadata")
"""Reasons that say nothing about the quality of an archive."""
UNWANTED = ("withheld", "taken_down")
"""Reasons for which a file that was taken once must leave: privacy, and takedown lists."""

Row = dict[str, Any]


def read(home: Store, parts: Iterable[Row]) -> list[Row]:
    """All rows of a version's ledger."""
    rows: list[Row] = []
    for part in parts:
        rows += pq.read_table(pa.BufferReader(home.read(part["path"])), schema=LEDGER).to_pylist()
    return rows


def stamped(rows: list[Row], before: dict[tuple[str, str], Row], seen_at: datetime, prepare_id: str) -> list[Row]:
    """`rows` with time and run: those of the parent's row where nothing else has changed."""
    new = {"seen_at": seen_at, "prepare_id": prepare_id}
    found = []
    for row in rows:
        old = before.get((row["survey"], row["key"]))
        same = old is not None and all(old[name] == row.get(name) for name in LEDGER.names if name not in STAMPS)
        found.append(row | ({name: old[name] for name in STAMPS} if same and old else new))
    return found


def must_leave(row: Row) -> bool:
    """Whether no version may hold the file any more."""
    return row["status"] == "withdrawn" or row["reason"] in UNWANTED


def gone(rows: list[Row], before: dict[tuple[str, str], Row], withdrawn: Container[tuple[str, str]] = ()) -> list[Row]:
    """Rows of files that an earlier version held and that are neither listed nor named any more; one that had to leave
    still has to, and those that are `withdrawn`, by survey and key, say so, lest their bytes come back."""
    present = {(row["survey"], row["key"]) for row in rows}
    kept = [(name, row) for name, row in sorted(before.items()) if name not in present]
    reasons = {name: row["reason"] if must_leave(row) else None for name, row in kept}
    reasons |= {name: TAKEN_DOWN for name in reasons if name in withdrawn}
    return [row | {"status": "gone", "reason": reasons[name], "item": None} for name, row in kept]


def write(home: Store, rows: list[Row], parent: list[Row]) -> list[Row]:
    """Entries of all ledger parts; a part that the parent has under the same name is not written again."""
    known = {part["path"]: part for part in parent}
    entries = []
    for survey in sorted({row["survey"] for row in rows}):
        own = sorted((row for row in rows if row["survey"] == survey), key=lambda row: row["key"])
        buckets = 1 << max(0, -(-len(own) // MOST_ROWS) - 1).bit_length()
        for bucket in range(buckets):
            inside = [row for row in own if int(share(0, "bucket", row["key"]) * buckets) == bucket]
            entries += [_put(home, survey, bucket, inside, known)] if inside else []
    return entries


def _put(home: Store, survey: str, bucket: int, rows: list[Row], known: dict[str, Row]) -> Row:
    data = parquet(pa.Table.from_pylist(rows, LEDGER))
    name = f"{survey}-{bucket}"
    inherited = known.get(entry_of(f"ledger/{name}", "parquet", data)["path"])
    return inherited or put_part(home, "ledger", name, data, len(rows), survey=survey, bucket=bucket)


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Rows by status, and by reason within it: {"ok": 5, "rejected/empty": 1}."""
    found = Counter(f"{row['status']}/{row['reason']}" if row["reason"] else row["status"] for row in rows)
    return dict(sorted(found.items()))


def check_complete(rows: list[Row], listed: dict[str, int]) -> None:
    """Asserts one row a file: every survey has as many listed rows as files were listed, and no file two rows."""
    found = Counter(row["survey"] for row in rows if row["etag"] is not None and row["status"] != "gone")
    names = {(row["survey"], row["key"]) for row in rows}
    if dict(found) != {name: count for name, count in listed.items() if count} or len(names) != len(rows):
        raise AssertionError(f"the ledger has {dict(found)} rows for {listed} listed files; nothing was committed")


def check_quality(survey: str, rows: list[Row], limit: float) -> None:
    """Raises DataRefused where too large a share of a survey's files gave no image, with the worst offenders: reasons
    with examples, and folders."""
    rejected = [row for row in rows if row["status"] == "rejected"]
    bad = [row for row in rejected if row["reason"] not in UNREAD and not _other_file(row)]
    considered = sum(row["status"] == "ok" for row in rows) + len(bad)
    if considered and (considered == len(bad) or len(bad) > limit * considered):
        reasons = Counter(row["reason"] for row in bad)
        told = "; ".join(
            f"{reason} {count} ({', '.join([row['key'] for row in bad if row['reason'] == reason][:5])})"
            for reason, count in reasons.most_common(3)
        )
        raise DataRefused(
            f"survey {survey}: {len(bad)} of {considered} files gave no image, "
            f"more than data.max_bad_share {limit:g}: {told}; {_worst_folders(bad, rows)}"
        )


def _worst_folders(bad: list[Row], rows: list[Row]) -> str:
    """The three folders with most bad files, beside how many images they hold."""
    counts, good = (
        Counter(_folder(row["key"]) for row in some) for some in (bad, [row for row in rows if row["status"] == "ok"])
    )
    told = ", ".join(f"{name} ({count} of {count + good[name]})" for name, count in counts.most_common(3))
    return f"worst folders: {told}"


def _folder(key: str) -> str:
    return key.rpartition("/")[0] or "the archive's root"


def _other_file(row: Row) -> bool:
    """A file that never claimed to be an image: no metadata name it and it was not read."""
    return row["reason"] == "not_image" and row["sha256"] is None
