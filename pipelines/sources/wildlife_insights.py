"""Wildlife Insights download bundles: CSV tables of projects, cameras, deployments, images and, in some, sequences.

A bundle has no pixels: people copy them, by `gcloud storage cp` from the `location` of each image or from their own
disks, so a setting says how a copy's path is made of a row. In a sequence project people label the sequence, and its
labels are repeated in the rows of its images: they are labels of the event. Nobody's name is read from a bundle.
"""

import re
from collections import defaultdict
from collections.abc import Container
from contextlib import suppress
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.sources.clock import read_clock
from pipelines.sources.deployments import Deployment, add_deployments, coordinates, whole_day
from pipelines.sources.reading import BadPath, archive_key, iterate
from pipelines.sources.rows import SurveyRows, text
from pipelines.sources.schema import PEOPLE, Refused, Survey
from pipelines.sources.tables import columns_of, read_table
from pipelines.sources.wildlife_files import check_template, path_of
from pipelines.sources.wildlife_labels import LABEL_COLUMNS, label_columns, shown
from pipelines.sources.zips import WithZips, zip_folder
from xmodal.settings import Settings

_NEEDED = {"projects": ("project_id",), "deployments": ("deployment_id",), "images": ("image_id", "deployment_id"),
           "sequences": ("sequence_id",)}  # fmt: skip
_TELLS_APART = ("individual_id", "individual_animal_notes", "animal_recognizable", "markings", "bounding_boxes")
"""Columns read only to see whether two rows of one image are about two animals."""
_USED = {
    "projects": ("image_license",),
    "deployments": ("project_id", "placename", "longitude", "latitude", "start_date", "end_date"),
    "images": ("project_id", "filename", "location", "sequence_id", "timestamp", "license", *LABEL_COLUMNS,
               *_TELLS_APART),
    "sequences": ("project_id", *LABEL_COLUMNS),
}  # fmt: skip

_SPAN = ("start_date", "end_date")


class WildlifeInsights(Settings):
    """A Wildlife Insights bundle and copies of the images it describes."""

    kind: Literal["wildlife_insights"]
    bundle: str = ""
    """Folder of the archive that the bundle's CSV files lie in, or the zip as downloaded; without it the archive's top.
    """
    images_prefix: str = ""
    """Folder of the archive that the image files lie in."""
    file: str = "{path}"
    """How an image's key below `images_prefix` is made of its row. {path}: its gs:// address below the bucket, as a
    recursive copy of the bucket leaves it; {name}: the last part of that, {upload}: the number after `deployment/` in
    it; {filename}: the name at upload; {image_id}, {deployment_id}, {project_id}, {placename}: as in the tables. So
    `{upload}/{name}`, `{image_id}.jpg` or `{placename}/{filename}`."""

    @field_validator("file")
    @classmethod
    def _known_fields(cls, file: str) -> str:
        check_template(file)
        return file

    def read(self, store: Store) -> Survey:
        """Reads the survey; refused rows are counted by reason. Raises DataRefused, infra.storage.NotFound.

        A file that is described and not in the archive is not refused here: the ledger has it as `missing`.
        """
        with WithZips(store) as files:
            return self._read(files, zip_folder(self.bundle))

    def _read(self, files: WithZips, folder: str) -> Survey:
        name = f"{files.url}/{folder}".rstrip("/")
        rows = SurveyRows()
        tables = _read_tables(files, folder, name, rows.refused)
        bundle = _Bundle(rows, tables)
        images = _Images(bundle, self.images_prefix, self.file, files.hosts, tables["images"])
        for row in iterate(tables["images"]):
            images.add(row)
        _add_sequences(bundle, images, tables["sequences"])
        add_deployments(rows.deployments, bundle.named(), {})
        return rows.survey(name, tables["images"].num_rows)


def _read_tables(files: WithZips, folder: str, name: str, refused: Refused) -> dict[str, pa.Table]:
    """The tables by kind, those of several files (`images_<project>.csv`) put together.

    Raises DataRefused where the folder has no images or no deployments.
    """
    keys: dict[str, list[str]] = {kind: [] for kind in _NEEDED}
    for key in sorted(files.names(folder)):
        stated = re.fullmatch(r"(projects|deployments|images|sequences)(_.*)?\.csv", key.rpartition("/")[2].lower())
        if stated:
            keys[stated[1]].append(key)
    for kind in ("images", "deployments"):
        if not keys[kind]:
            raise DataRefused(f"{name}: no {kind}.csv or {kind}_<project>.csv in this folder; is `bundle` right?")
    store = cast(Store, files)
    tables = {
        kind: [read_table(store, key, refused, needed=_NEEDED[kind]) for key in own] for kind, own in keys.items()
    }
    return {
        kind: columns_of(
            pa.concat_tables(own or [pa.table({})], promote_options="default"), _NEEDED[kind] + _USED[kind]
        )
        for kind, own in tables.items()
    }


class _Bundle:
    """What images are joined with: deployments, licences of projects, sequences.

    Ids of deployments are people's own and unique within a project only: a bundle of several projects has them, and
    sequences, as `project/id`. One placename is one place, also of two deployments or two projects.
    """

    def __init__(self, rows: SurveyRows, tables: dict[str, pa.Table]) -> None:
        self.rows = rows
        projects = {text(value) for value in tables["deployments"]["project_id"].to_pylist()}
        self._several = len(projects - {None}) > 1
        self.licences = {text(row["project_id"]): text(row["image_license"]) for row in iterate(tables["projects"])}
        self.sequences: dict[str, set[str]] = {}
        """Types of the labels of each sequence."""
        for row in iterate(tables["sequences"]):
            if (sequence_id := self.scoped(row, "sequence_id")) is not None:
                self.sequences.setdefault(sequence_id, set()).add(shown(row))
        self.deployments: dict[str | None, Deployment] = {}
        self.placenames: dict[str | None, str | None] = {}
        for row in iterate(tables["deployments"]):
            self._add_deployment(row)

    def scoped(self, row: dict[str, Any], column: str) -> str | None:
        """An id as it is unique within the bundle."""
        identity = text(row[column])
        return f"{text(row['project_id'])}/{identity}" if identity and self._several else identity

    def named(self) -> dict[str, Deployment]:
        return {identity: deployment for identity, deployment in self.deployments.items() if identity is not None}

    def _add_deployment(self, row: dict[str, Any]) -> None:
        identity, refused = self.scoped(row, "deployment_id"), self.rows.refused
        if identity is None or identity in self.deployments:
            refused.add("no_id" if identity is None else "duplicate_deployment", f"deployment {identity}")
            return
        start, end = (read_clock(row[name], refused, about=f"deployment {identity}") for name in _SPAN)
        self.placenames[identity] = text(row["placename"])
        place = self.placenames[identity] or coordinates(row)
        self.deployments[identity] = Deployment(place, start, whole_day(end))


class _Images:
    """The images taken and refused so far, by id; a sequence's members in the order of their rows."""

    def __init__(self, bundle: _Bundle, prefix: str, file: str, hosts: Container[str], table: pa.Table) -> None:
        self._bundle, self._rows = bundle, bundle.rows
        self._prefix, self._file, self._hosts = prefix, file, hosts
        self._keys: set[str] = set()
        self._repeated = _repeated(table)
        self._seen: set[tuple[Any, ...]] = set()
        self._taken: set[str] = set()
        self._refused: set[str] = set()
        self.members: dict[str, list[str]] = defaultdict(list)

    def add(self, row: dict[str, Any]) -> None:
        image_id = text(row["image_id"])
        self._sign(row)
        if image_id is None:
            self._rows.refused.add("no_id", f"image {row['filename']!s:.80}")
            return
        if image_id in self._repeated and self._is_repetition(row):
            self._rows.refused.add("duplicate_row", f"image {image_id}")
            return
        if image_id not in self._taken and image_id not in self._refused:
            self._add_image(image_id, row)
        if image_id in self._taken:
            self._add_label(image_id, row)
        else:
            self._rows.refused.add("observation_of_refused_image", f"image {image_id}")

    def _sign(self, row: dict[str, Any]) -> None:
        """Notes what the row and its sequence say of people, whatever becomes of the row."""
        sequence_id = self._bundle.scoped(row, "sequence_id")
        found = {shown(row)} | self._bundle.sequences.get(sequence_id or "", set())
        for kind in found & {*PEOPLE}:
            self._rows.sign([], kind, sequence_id)
            with suppress(BadPath):  # of what is no file of the archive: the row is counted as such below
                self._rows.sign([self._path(row)], kind)

    def _is_repetition(self, row: dict[str, Any]) -> bool:
        """Whether it stood there before: several rows of one image are several kinds of animals, or several animals
        told apart, and equal ones would count the same animals twice."""
        known = len(self._seen)
        self._seen.add(tuple(row.values()))
        return len(self._seen) == known

    def _add_image(self, image_id: str, row: dict[str, Any]) -> None:
        try:
            key = self._key(row)
        except BadPath as fault:
            self._rows.refused.add(fault.reason, f"image {image_id}: {row['location'] or row['filename']!s:.80}")
            self._refused.add(image_id)
            return
        self._keys.add(key)
        self._taken.add(image_id)
        self._add_row(image_id, key, row)

    def _path(self, row: dict[str, Any]) -> str:
        placename = self._bundle.placenames.get(self._bundle.scoped(row, "deployment_id"))
        return archive_key(path_of(self._file, row, placename), self._prefix, self._hosts)

    def _key(self, row: dict[str, Any]) -> str:
        key = self._path(row)
        if key in self._keys:
            raise BadPath("duplicate_file")
        return key

    def _add_row(self, image_id: str, key: str, row: dict[str, Any]) -> None:
        deployment_id, sequence_id = self._bundle.scoped(row, "deployment_id"), self._bundle.scoped(row, "sequence_id")
        deployment = self._bundle.deployments.get(deployment_id)
        if deployment is None:
            self._rows.refused.add("unknown_deployment", f"image {image_id}: {deployment_id}")
        if sequence_id is not None:
            self.members[sequence_id].append(image_id)
        clock = read_clock(row["timestamp"], self._rows.refused, about=f"image {image_id}")
        self._rows.media.add(
            media_id=image_id,
            key=key,
            deployment_id=deployment_id,
            place=deployment.place if deployment else None,
            event_id=sequence_id,
            **clock.columns,
            licence=text(row["license"]) or self._bundle.licences.get(text(row["project_id"])),
        )

    def _add_label(self, image_id: str, row: dict[str, Any]) -> None:
        sequence_id = self._bundle.scoped(row, "sequence_id")
        if sequence_id in self._bundle.sequences:
            self._rows.refused.add("label_repeats_sequence", f"image {image_id}")
            return
        level = "media" if sequence_id is None else "event"
        said = label_columns(row, self._rows.refused, f"image {image_id}")
        self._rows.observations.add(media_id=image_id, level=level, **said)


def _repeated(table: pa.Table) -> set[str | None]:
    """Image ids of more than one row."""
    counted = table.group_by("image_id").aggregate([("image_id", "count")])
    return set(counted.filter(pc.field("image_id_count") > 1)["image_id"].to_pylist())


def _add_sequences(bundle: _Bundle, images: _Images, table: pa.Table) -> None:
    """Labels of sequences, as labels of the event, for each of its images."""
    for row in iterate(table):
        sequence_id = bundle.scoped(row, "sequence_id")
        members = images.members.get(sequence_id or "", [])
        if not members:
            bundle.rows.refused.add("sequence_without_images", f"sequence {sequence_id}")
            continue
        said = label_columns(row, bundle.rows.refused, f"sequence {sequence_id}")
        for image_id in members:
            bundle.rows.observations.add(media_id=image_id, level="event", **said)
