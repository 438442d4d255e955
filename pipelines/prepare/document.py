"""What a version document says beside who made it and when."""

from collections import Counter
from typing import Any

import pyarrow as pa

from pipelines.prepare import ledger, withdrawal
from pipelines.prepare.cameras import pc
from pipelines.prepare.facts import FACTS_VERSION
from pipelines.prepare.items import PIXELS_VERSION
from pipelines.prepare.language import version
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.records import RECORDS_VERSION
from pipelines.prepare.run import Run
from pipelines.prepare.splits import SPLIT_VERSION, Split, told

SCHEMA_VERSION = 1
"""Of the stored tables and of this document."""
Entry = dict[str, Any]


def describe(
    run: Run, rows: ledger.Ledger, split: Split, vocabularies: list[Entry], parts: dict[str, list[Entry]]
) -> Entry:
    """The document's content: settings, surveys with their counts, vocabularies, parts by kind."""
    return {
        "dataset": run.data.name,
        "schema": SCHEMA_VERSION,
        "prepare": {"fingerprint": run.fingerprint, "settings": run.settings.model_dump(mode="json")},
        "code": {"pixels": PIXELS_VERSION, "facts": FACTS_VERSION, "records": RECORDS_VERSION},
        "split": {"policy": run.data.split.kind, "version": SPLIT_VERSION}
        | told(run.data.split.kind, split)
        | run.data.split.model_dump(mode="json", include={"seed"}),
        "captions": version(run.data.captions.languages),
        "taxonomy": None,
        "surveys": [_survey(listing, rows[listing.name], parts["records"]) for listing in run.listings],
        "counts": split_counts(parts["records"]),
        "vocabularies": vocabularies,
        "withdrawn": withdrawal.told(rows, run.before, run.inherited("withdrawn"), run.number + 1),
    } | parts


def split_counts(records: list[Entry]) -> dict[str, int]:
    """Images by split, of the entries of record parts."""
    counts = Counter[str]()
    for part in records:
        counts.update(part["splits"])
    return dict(sorted(counts.items()))


def unused(records: list[Entry]) -> dict[str, int]:
    """Images that have a record and no split, by reason."""
    counts = Counter[str]()
    for part in records:
        counts.update(part["split_reasons"])
    return dict(sorted(counts.items()))


def _survey(listing: SurveyListing, rows: pa.Table, records: list[Entry]) -> Entry:
    flags = Counter[str]()
    for one in rows["clock_flags"].drop_null().value_counts().to_pylist():
        flags.update(dict.fromkeys(one["values"].split("|"), one["counts"]))
    parts = [part for part in records if part["survey"] == listing.name]
    other_size = pc.sum(rows["size_differs"]).as_py()
    return {
        "name": listing.name,
        "source": listing.settings.source.kind,
        "listing": listing.digest,
        "files": listing.count,
        "samples": sum(part["rows"] for part in parts),
        "counts": ledger.counts(rows),
        "unused": unused(parts),
        "clock_flags": dict(sorted(flags.items())),
        "metadata_refused": dict(sorted(listing.known.survey.refused.counts.items())),
        "members_refused": dict(sorted(listing.damaged.items())),
    } | ({"size_differs": other_size} if other_size else {})
