"""What overlays share: entries joined with a survey's media by path, and tables that replace an earlier overlay's.

The join is by the whole path inside the archive, never by a bare file name: cameras write the same names again and
again.
"""

from collections.abc import Collection, Container, Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import DataRefused
from pipelines.sources.reading import BadPath, archive_key
from pipelines.sources.schema import PEOPLE, SIGNS, Refused, Survey

STRANGERS = ("no_such_media", "absolute_path", "parent_path", "remote_url", "foreign_url")
"""Reasons of a path that leads to no medium of the survey."""


class Join:
    """Joins the entries of one results file, each medium once. `refused` counts no_such_media, duplicate_entry and the
    reasons of `archive_key`.

    `cut_prefix` is what paths begin with on the machine that wrote the file, `images_prefix` the folder of the archive
    that the rest is relative to. Addresses of `hosts` (Store.hosts) are keys as they stand.
    """

    def __init__(
        self, survey: Survey, images_prefix: str, cut_prefix: str, hosts: Container[str], refused: Refused
    ) -> None:
        self._known = set(survey.media["key"].to_pylist())
        self._prefix = images_prefix
        self._cut = cut_prefix
        self._hosts = hosts
        self._refused = refused
        self._seen: set[str] = set()
        self._entries = 0
        self._strangers: list[str] = []

    def key(self, path: object) -> str | None:
        """The key of a medium that no earlier entry named; null, and counted, for any other."""
        self._entries += 1
        key = None
        try:
            key = self._key(path)
            if key not in self._known:
                raise BadPath("no_such_media")
            if key in self._seen:
                raise BadPath("duplicate_entry")
        except BadPath as fault:
            self._refused.add(fault.reason, f"entry {self._entries}" if key is None else f"{key:.80}")
            self._strangers += [f"{path!s:.80}"] if fault.reason in STRANGERS else []
            return None
        self._seen.add(key)
        return key

    def path(self, path: object) -> str | None:
        """The key that a path is, of a medium or not; null for what can be none."""
        try:
            return self._key(path)
        except BadPath:
            return None

    def _key(self, path: object) -> str:
        return archive_key(relative(path, self._cut), self._prefix, self._hosts)

    def check(self, name: str) -> None:
        """Raises DataRefused where `name` has entries and all of them are about other files than this survey's."""
        if self._entries and len(self._strangers) == self._entries:
            example = self._strangers[0]
            raise DataRefused(f"{name}: none of its {self._entries} files is in this survey, e.g. {example!r}; "
                              f"are images_prefix {self._prefix!r} and cut_prefix {self._cut!r} right?")  # fmt: skip


def relative(path: object, cut_prefix: str = "") -> object:
    """A path as programs write it, with the slashes of an archive's keys and without what it begins with elsewhere."""
    if not isinstance(path, str):
        return path
    plain, cut = path.replace("\\", "/"), cut_prefix.replace("\\", "/").rstrip("/")
    inside = plain.removeprefix(cut + "/") if cut else plain
    return inside.removeprefix("./")


def with_detections(survey: Survey, table: pa.Table) -> Survey:
    """`survey` with the DETECTIONS rows of `table`; those of other files stay."""
    named = set(table["key"].to_pylist())
    kept = [key not in named for key in survey.detections["key"].to_pylist()]
    return replace(survey, detections=_joined(survey.detections, kept, table))


def with_observations(survey: Survey, table: pa.Table, origin: str, media_ids: Collection[str]) -> Survey:
    """`survey` with the OBSERVATIONS rows of `table`, all of `origin`; what that origin said of `media_ids` goes, but
    for the signs of people in it."""
    named = set(media_ids)
    rows = zip(survey.observations["origin"].to_pylist(), survey.observations["media_id"].to_pylist(), strict=True)
    kept = [said_by != origin or media_id not in named for said_by, media_id in rows]
    gone = survey.observations.filter(pa.array([not one for one in kept], pa.bool_()))
    survey = with_signs(survey, _signs(survey, gone))
    return replace(survey, observations=_joined(survey.observations, kept, table))


def with_signs(survey: Survey, table: pa.Table) -> Survey:
    """`survey` with the SIGNS rows of `table` beside its own: no overlay takes a sign back."""
    return replace(survey, signs=pa.concat_tables([survey.signs, table]))


def _signs(survey: Survey, observations: pa.Table) -> pa.Table:
    """SIGNS of the people that some observations show."""
    shown = observations.select(["media_id", "type"]).filter(pc.field("type").isin(PEOPLE))
    rows = pc.call_function("index_in", [shown["media_id"]], pc.SetLookupOptions(survey.media["media_id"]))
    keys = survey.media["key"].take(rows)
    return pa.table([keys, shown["type"], pa.nulls(len(keys), pa.float64()), pa.nulls(len(keys), pa.string())], SIGNS)


def _joined(below: pa.Table, kept: Iterable[bool], above: pa.Table) -> pa.Table:
    return pa.concat_tables([below.filter(pa.array(kept, pa.bool_())), above])
