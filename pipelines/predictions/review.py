"""`--review FILE`: what people should look at, best first, as a CSV that comes back as a corrections overlay; and
beside it FILE-budget.json, how much that is.

The columns to fill in are those that `pipelines.sources.corrections` reads. Every row names its file twice, by path and
by media id, so that one of them may be spoilt by a spreadsheet.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.predictions.answers import UNKNOWN
from pipelines.predictions.asked import ASKED, COPIED, Asking, Row, guessed
from pipelines.predictions.budget import hours, measured
from pipelines.predictions.labels import by_people, label_of
from pipelines.predictions.looks import BATCH, looks
from pipelines.predictions.made_by import Maker
from pipelines.predictions.table import MADE_BY
from pipelines.predictions.trust import Measured
from pipelines.predictions.whole import Whole
from pipelines.progress import warn
from pipelines.sources.correction_rows import COLUMNS, LABEL
from pipelines.sources.handwritten import read_rows, read_text
from pipelines.spreadsheets import safe
from pipelines.writable import check_writable
from xmodal.settings import SettingsError

TO_FILL = ("type", "scientific_name", "common_name", "count", "life_stage", "sex", "behavior", "note")
TOLD = ("worth", "why", "survey", "deployment_id", "event_id", "captured_at", "key", "frames", "guess",
        "guess_confidence", "present_label", "labelled_by")  # fmt: skip
HEADER = (*TOLD, *TO_FILL, "media_id", "also", *(name for name, _ in MADE_BY))
MARK = "\ufeff"
"""By which a spreadsheet knows UTF-8."""
TAKEN = [*COPIED, "place", "facts", "incumbents", "refused", "type", "taxon", "rank",
         "common_name", "confidence", "animal_confidence", "species", "species_confidence", "reason"]  # fmt: skip
"""What is taken from the rows of frames."""


class ReviewFile:
    """Asks frames part by part; everything is written at the end, since the best comes first."""

    def __init__(self, file: Path, maker: Maker, asking: Asking, seconds: float) -> None:
        self._file, self._maker, self._asking, self._seconds = file, maker, asking, seconds
        self._asked: list[pa.Table] = []
        self._at_hand, self._remain, self._strange = Counter[str](), Counter[str](), Counter[str]()

    def frames(self, rows: pa.Table) -> None:
        every = [row for row in rows.select(TAKEN).to_pylist() if row["refused"] is None]
        for row in every:
            self._strange.update(self._asking.strange(label_of(row["facts"])))
            if not by_people(row["facts"]):
                self._at_hand[guessed(row)[0]] += 1
                self._remain[guessed(row)[0]] += row["type"] == UNKNOWN
        asked = [found for row in every if (found := self._asking.of_frame(row)) is not None]
        self._asked.append(pa.Table.from_pylist(asked, ASKED))

    def events(self, rows: pa.Table) -> None:
        """Frames are asked; events only say which of them are looked at together."""

    def finish(self) -> list[str]:
        found = looks(pa.concat_tables([ASKED.empty_table(), *self._asked]))
        tested = self._maker.trust.tested.get(str(self._maker.wanted))
        if self._strange:
            named = ", ".join(sorted(self._strange))
            warn(f"{self._strange.total():,} images are labelled as species that it was never trained on: {named:.300}")
        written = [self._write(found), self._budget(found, tested)]
        return [*written, *self._sentences(found, tested)]

    def _write(self, found: pa.Table) -> str:
        whole = Whole(self._file)
        text = whole.text()
        text.write(MARK)
        rows = csv.writer(text)
        rows.writerow(HEADER)
        for batch in found.to_batches(BATCH):
            rows.writerows(self._cells(row) for row in batch.to_pylist())
        return whole.keep()

    def _cells(self, row: Row) -> Iterator[Any]:
        known = row | {"key": row["file"]} | self._maker.columns
        return (safe(None if name in TO_FILL else known[name]) for name in HEADER)

    def _budget(self, found: pa.Table, tested: Measured | None) -> str:
        whole = Whole(budget_file(self._file))
        document = self._maker.document | {
            "unlabelled": self._told(self._at_hand.total(), self._remain.total(), len(found)),
            "looks_by_reason": dict(sorted(Counter(found["kind"].to_pylist()).items())),
            "seconds_a_look": self._seconds,
            "seconds_a_look_is": "assumed, not measured",
            "species": self._species(Counter(found["guess"].to_pylist()), tested),
            "tested": tested.model_dump(exclude={"species"}) if tested else None,
        }
        whole.text().write(json.dumps(document, ensure_ascii=False, indent=1))
        return whole.keep()

    def _species(self, asked: Counter[str], tested: Measured | None) -> dict[str, Row]:
        """By what frames are taken for; beside it what the test split told of that species."""
        known = tested.species if tested else {}
        return {
            name: self._told(self._at_hand[name], self._remain[name], asked[name])
            | {"tested": known[name].model_dump() if name in known else None}
            for name in sorted(self._at_hand.keys() | asked.keys())
        }

    def _told(self, at_hand: int, remain: int, count: int) -> Row:
        return {"images": at_hand, "accepted": at_hand - remain, "remain": remain, "looks": count,
                "hours": round(hours(count, self._seconds), 2)}  # fmt: skip

    def _sentences(self, found: pa.Table, tested: Measured | None) -> list[str]:
        at_hand, remain = self._at_hand.total(), self._remain.total()
        share = f" ({100 * (1 - remain / at_hand):.1f} %)" if at_hand else ""
        accepted = f"{at_hand - remain:,}{share} can be accepted unseen, {remain:,} remain"
        pace = f"about {hours(len(found), self._seconds):,.1f} hours at {self._seconds:g} s a look (assumed)"
        known = measured(tested, str(self._maker.wanted)) if tested else "no unseen test place says how right that is"
        return [
            f"review: {at_hand:,} images that nobody has labelled: {accepted}; {len(found):,} looks, {pace}",
            f"review: {known}",
        ]


def budget_file(review: Path) -> Path:
    return review.with_name(f"{review.stem}-budget.json")


def check_review(file: Path, folder: Path) -> None:
    """Raises SettingsError where it cannot be written or is one of the other outputs, DataRefused where people have
    filled in what lies there."""
    if file.suffix.lower() != ".csv":
        raise SettingsError(f"--review {file}: give the name of a .csv file")
    if file.resolve().parent == folder.resolve() and file.stem in ("frames", "events"):
        raise SettingsError(f"--review {file}: that is where the answers go; give it another name, as review.csv")
    check_writable(file, "--review", "review.csv")
    if not file.exists():
        return
    text = read_text(open_store(str(file.resolve().parent)), file.name)
    rows = read_rows(str(file), text, COLUMNS, ("key", "media_id"))
    if filled := sum(any(row[name] for name in LABEL) for row in rows):
        raise DataRefused(f"--review {file}: {filled:,} of its rows are filled in; move it, or give another name")
