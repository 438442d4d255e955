"""Corrections: a CSV that people wrote, laid over the labels of a survey. `docs/formats.md` describes its columns.

A row speaks of one file, and of those that were looked at with it (`also`), and replaces every label of theirs (the
precedence table says so); of several rows on one file the last that says anything counts, and before all that name it
under `also`. A row without a label says nothing. `note` is never read.
"""

import difflib
import json
from collections import Counter
from dataclasses import replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.correction_rows import BETWEEN, COLUMNS, Columns, Types, named_alone, read_label, shown
from pipelines.sources.handwritten import Row, read_rows, read_text, turned
from pipelines.sources.joining import with_observations, with_signs
from pipelines.sources.labels import LabelTypes, as_compared
from pipelines.sources.rows import Rows
from pipelines.sources.schema import OBSERVATIONS, SIGNS, Refused, Survey
from pipelines.spreadsheets import bare
from xmodal.settings import Settings

ORIGIN = "corrections"
ALIKE = 0.9
"""From which likeness on (difflib) a name that the survey does not know may be a slip for one that it does."""


class Corrections(Settings):
    """What people say of files whose labels are wrong or missing."""

    kind: Literal["corrections"]
    path: str
    """Key of the CSV in the archive."""
    survey: str | None = None
    """Name that rows of this survey carry in the column `survey`, where one file corrects several surveys."""
    language: str = Field(default="eng", pattern="^[a-z]{3}$")
    """ISO 639-3 code of the language of `common_name`."""
    types: LabelTypes = Field(default={})
    """Words of `type` and of the names that we do not know, to what they mean: human, vehicle, blank, unknown,
    unclassified or animal, such as `{mtu: human}`. Case, accents and separators do not count."""

    def read(self, store: Store, survey: Survey) -> Survey:
        """`survey` with this file's labels; an earlier corrections overlay stays for the files this one does not name.

        Raises DataRefused where the file is no such table or corrects no file of the survey, infra.storage.NotFound.
        """
        name = f"{store.url}/{self.path}"
        refused = Refused()
        rows = list(read_rows(name, read_text(store, self.path), COLUMNS, ("key", "media_id")))
        own, media, types = self._own(name, rows, refused), _Media(survey), as_compared(self.types)
        latest = _latest(own, media, types, refused)
        _check_joined(name, latest, refused)
        taxa = _Taxa(survey.observations, self.language)
        table = Rows(OBSERVATIONS)
        for media_id, label in latest.items():
            taxa.doubt(media_id, label, refused)
            table.add(media_id=media_id, level="media", method="human", origin=ORIGIN, **taxa.completed(label))
        refused.extend(survey.refused)
        survey = with_signs(survey, _signs(own, media, types))
        return replace(with_observations(survey, table.table(), ORIGIN, latest), refused=refused)

    def _own(self, name: str, rows: list[Row], refused: Refused) -> list[Row]:
        """The rows of this survey. Raises DataRefused where the file names several and the settings none."""
        surveys = sorted({survey for row in rows if (survey := row["survey"])})
        if self.survey is None and len(surveys) > 1:
            raise DataRefused(f"{name}: it corrects {len(surveys)} surveys ({', '.join(surveys[:5])}); "
                              "say with this overlay's setting `survey` which rows are meant")  # fmt: skip
        own = [row for row in rows if self.survey is None or row["survey"] in (None, self.survey)]
        refused.counts += Counter({"row_of_other_survey": len(rows) - len(own)})
        return own


def _latest(rows: list[Row], media: "_Media", types: Types, refused: Refused) -> dict[str, Columns]:
    """Media id to the label of the last row that gives one."""
    own: dict[str, Columns] = {}
    beside: dict[str, Columns] = {}
    for row in rows:
        label = read_label(row, types, refused)
        if label is None:
            continue
        if (media_id := media.named_by(row, refused)) is not None:
            _put(own, media_id, label, row, refused)
        for other in media.others(row, refused):
            _put(beside, other, named_alone(label), row, refused)
    return beside | own


def _put(found: dict[str, Columns], media_id: str, label: Columns, row: Row, refused: Refused) -> None:
    if media_id in found:
        refused.add("superseded_row", f"before line {row.line}: {media_id}")
    found[media_id] = label


def _signs(rows: list[Row], media: "_Media", types: Types) -> pa.Table:
    """SIGNS of the people that any row names, in whatever files it means."""
    found = Rows(SIGNS)
    for row in rows:
        for kind in sorted(shown(row, types)):
            for key in media.files_of(row):
                found.add(key=key, kind=kind)
    return found.table()


def _check_joined(name: str, latest: dict[str, Columns], refused: Refused) -> None:
    strangers = [reason for reason in ("no_such_media", "turned_by_spreadsheet") if refused.counts[reason]]
    if strangers and not latest:
        count = sum(refused.counts[reason] for reason in strangers)
        example = refused.examples[strangers[0]][0]
        raise DataRefused(f"{name}: none of its {count} labelled rows is about a file of this survey, e.g. {example}")


class _Media:
    """The media of a survey, as rows name them."""

    def __init__(self, survey: Survey) -> None:
        media_ids, keys = survey.media["media_id"].to_pylist(), survey.media["key"].to_pylist()
        self._by_key = dict(zip(keys, media_ids, strict=True))
        self._keys = dict(zip(media_ids, keys, strict=True))

    def named_by(self, row: Row, refused: Refused) -> str | None:
        """The media id that a row's key or media_id leads to; null, and counted, where none or two."""
        written = [cell for name in ("key", "media_id") if (cell := row[name]) is not None]
        by_key, by_id = self._of_key(row["key"] or ""), self._of_id(row["media_id"] or "")
        if by_key and by_id and by_key != by_id:
            key = row["key"]
            refused.add("key_and_media_id_differ", f"line {row.line}: {key!r:.80} is {by_key!r:.60}, not {by_id!r:.60}")
            return None
        if not (by_key or by_id):
            mangled = any(turned(cell) for cell in written)
            reason = "turned_by_spreadsheet" if mangled else "no_such_media" if written else "no_media_named"
            refused.add(reason, f"line {row.line}: {', '.join(written)!r:.80}")
        return by_key or by_id

    def others(self, row: Row, refused: Refused) -> list[str]:
        """The media ids of `also`; those that are none are counted."""
        found = {name: self._of_key(name) or self._of_id(name) for name in _also(row)}
        for name in (name for name, media_id in found.items() if media_id is None):
            refused.add("no_such_media", f"line {row.line}, also: {name!r:.80}")
        return [media_id for media_id in found.values() if media_id is not None]

    def files_of(self, row: Row) -> set[str]:
        """Keys of all files that a row could mean, media or not."""
        named = [row["key"] or "", *_also(row)]
        ids = [row["media_id"] or "", *_also(row)]
        keys = {one for written in named for one in _spellings(written)}
        return (keys | {self._keys.get(one, "") for written in ids for one in _spellings(written)}) - {""}

    def _of_key(self, written: str) -> str | None:
        return next((self._by_key[one] for one in _spellings(written) if one in self._by_key), None)

    def _of_id(self, written: str) -> str | None:
        return next((one for one in _spellings(written) if one in self._keys), None)


def _spellings(written: str) -> tuple[str, ...]:
    """A name as it stood before it was made safe for spreadsheets, as it is written, and as another program's path."""
    return bare(written), written, written.replace("\\", "/")


def _also(row: Row) -> list[str]:
    return [name for one in bare(row["also"] or "").split(BETWEEN) if (name := one.strip())]


class _Taxa:
    """What the survey's other labels know of a taxon: corrections that name it share its lineage and names."""

    def __init__(self, observations: pa.Table, language: str) -> None:
        self._language = language
        columns = ["taxon", "rank", "lineage", "names"]
        animals = observations.filter((pc.field("type") == "animal") & pc.field("taxon").is_valid())
        distinct = animals.select(columns).group_by(columns).aggregate([]).to_pylist()
        self._of_taxon: dict[str, Columns] = {}
        self._of_name: dict[str, set[str]] = {}
        self._near: dict[str, list[str]] = {}
        for row in sorted(distinct, key=lambda row: [(row[name] is None, row[name] or "") for name in columns]):
            kept = self._of_taxon.setdefault(row["taxon"], row)
            self._of_taxon[row["taxon"]] = {name: value or row[name] for name, value in kept.items()}
            name = json.loads(row["names"] or "{}").get(language)
            self._of_name.setdefault((name or "").lower(), set()).add(row["taxon"])

    def doubt(self, media_id: str, label: Columns, refused: Refused) -> None:
        """Counts a name that nothing else in the survey has and that is nearly another's; it stays as it is written."""
        name = label.get("taxon")
        if name is None or name in self._of_taxon:
            return
        if name not in self._near:
            self._near[name] = difflib.get_close_matches(name, self._of_taxon, n=1, cutoff=ALIKE)
        if near := self._near[name]:
            refused.add("perhaps_misspelt", f"{media_id} (is {near[0]} meant?): {name!r:.80}")

    def completed(self, label: Columns) -> Columns:
        """`label` completed. A common name that the survey gives to one taxon only means that taxon."""
        columns = dict(label)
        common = columns.pop("common", None)
        if columns["type"] != "animal":
            return columns
        called = self._of_name.get((common or "-").lower(), set())
        name = columns.get("taxon") or (min(called) if len(called) == 1 else None)
        known = self._of_taxon.get(name or "", {})
        names = json.loads(known.get("names") or "{}") | ({self._language: common} if common else {})
        return columns | {
            "taxon": name,
            "rank": columns.get("rank") or known.get("rank"),
            "lineage": known.get("lineage"),
            "names": json.dumps(names, ensure_ascii=False) if names else None,
        }
