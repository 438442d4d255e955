"""An existing Camtrap DP 1.0.x package with the model's observations behind its own.

The package itself is not touched: a copy is written whose deployments and media are those that it had, with their
deploymentID and mediaID, and whose observations are those that it had and ours. Observations of the same model at the
same version, as an earlier run of this verb left them, are replaced.
"""

import csv
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute

from infra.storage import Store, open_store
from pipelines.errors import DataRefused
from pipelines.predictions.camtrap_dp import FOLDER, taxonomic, told
from pipelines.predictions.camtrap_observations import OBSERVATIONS, Observed
from pipelines.predictions.ladder import Ladder
from pipelines.predictions.made_by import Maker
from pipelines.predictions.moments import Moments
from pipelines.predictions.whole import Whole
from pipelines.progress import warn
from pipelines.sources.camtrap_package import NEEDED, check_profile, descriptor_key, resource_table
from pipelines.sources.clock import read_clock
from pipelines.sources.reading import BadPath, archive_key, iterate, read_json
from pipelines.sources.schema import Refused
from pipelines.sources.zips import WithZips

pc: Any = pyarrow.compute
_TABLE = {"format": "csv", "mediatype": "text/csv", "encoding": "utf-8"}
_OF_OTHERS = ("dialect", "compression", "hash", "bytes")
"""What a descriptor says of a file that is written anew."""


@dataclass(frozen=True)
class Given:
    """A package as it stands: its descriptor, its three tables with all their columns, and files of other resources."""

    address: str
    descriptor: dict[str, Any]
    tables: dict[str, pa.Table]
    beside: dict[str, bytes]
    """By path."""

    @classmethod
    def read(cls, address: str) -> "Given":
        """`address` names datapackage.json or a zip, in a directory or below s3://. Raises DataRefused, and what
        storage raises."""
        folder, _, name = address.rpartition("/")
        with WithZips(open_store(folder or ".")) as files:
            store, key, refused = cast(Store, files), descriptor_key(name), Refused()
            descriptor = read_json(store, key)
            check_profile(descriptor, address)
            tables = {one: resource_table(store, key, descriptor, one, refused) for one in NEEDED}
            for reason, count in refused.counts.items():
                warn(f"--package {address}: {reason} {count}: {', '.join(refused.shown(reason))}")
            return cls(address, descriptor, tables, _others(store, key, descriptor))

    def place(self, media_id: pa.ChunkedArray, file: pa.ChunkedArray) -> pa.ChunkedArray:
        """The row of `media` that each image is: by its mediaID, else by its path; null where it is none."""
        media = self.tables["media"]
        by_id, by_path = (pc.index_in(of, value_set=media[name], skip_nulls=True)
                          for of, name in ((media_id, "mediaID"), (file, "filePath")))  # fmt: skip
        return pc.coalesce(by_id, by_path)

    def check(self, images: pa.Table) -> None:
        """`images` have media_id and file. Raises DataRefused where none of them is in the package."""
        if self.place(images["media_id"], images["file"]).null_count == len(images):
            theirs, ours = self.tables["media"], images.slice(0, 1).to_pylist()[0]
            example = theirs.select(["mediaID", "filePath"]).slice(0, 1).to_pylist()
            has = f"it has {example[0]['mediaID']!r} at {example[0]['filePath']!r}" if example else "it has none"
            raise DataRefused(
                f"--package {self.address}: none of the {len(images):,} images is one of its media, by mediaID or "
                f"filePath, e.g. {ours['media_id']!r} at {ours['file']!r}; {has}"
            )

    def warn_of_strangers(self, ladder: Ladder) -> None:
        """Says which of its taxa the model can name at no rank."""
        known = {name for names in ladder.names.values() for name in names}
        stated = [entry for entry in self.descriptor.get("taxonomic") or [] if isinstance(entry, dict)]
        strange = sorted({str(entry.get("scientificName")) for entry in stated} - known)
        if strange:
            some = ", ".join(strange[:5]) + (" ..." if len(strange) > 5 else "")
            told = f"{len(strange)} of its taxa the model was not trained on and never names: {some}"
            warn(f"--package {self.address}: {told}")


def _others(store: Store, key: str, descriptor: dict[str, Any]) -> dict[str, bytes]:
    """Files of resources that are none of the three tables."""
    found: dict[str, bytes] = {}
    for resource in descriptor["resources"]:
        paths = resource.get("path") or [] if resource.get("name") not in NEEDED else []
        for path in paths if isinstance(paths, list) else [paths]:
            try:
                found[path] = store.read(archive_key(path, key.rpartition("/")[0]))
            except BadPath:
                continue  # an address: it stays one
    return found


class AppendedPackage:
    """The copy."""

    def __init__(self, folder: Path, maker: Maker, ladder: Ladder, given: Given, moments: Moments) -> None:
        self._home, self._maker, self._ladder, self._given = folder / FOLDER, maker, ladder, given
        self._observed = Observed(maker, moments)
        self._whole = Whole(self._home / "observations.csv")
        before = _without(given.tables["observations"], maker)
        fields = _fields(OBSERVATIONS, before)
        self._writer = csv.DictWriter(self._whole.text(), fields, restval="", lineterminator="\n")
        self._writer.writeheader()
        self._writer.writerows(iterate(before))
        self._said: dict[tuple[str, str], dict[str, str]] = {}
        self.strange = 0

    def frames(self, rows: pa.Table) -> None:
        placed = list(self._placed(rows))
        self.strange += len(rows) - len(placed)
        for row in placed:
            self._add(row, self._observed.of_medium(row) if row["refused"] is None else None)

    def events(self, rows: pa.Table) -> None:
        for row in self._placed(rows):
            self._add(row, self._observed.of_event(row))

    def _add(self, row: dict[str, Any], observation: dict[str, Any] | None) -> None:
        if observation is not None:
            self._writer.writerow(observation)
            self._said |= {(row["rank"], row["taxon"]): {}} if row["taxon"] else {}

    def _placed(self, rows: pa.Table) -> Iterator[dict[str, Any]]:
        """Rows that are of the package's media, with its ids, and with its time where they have none."""
        media = self._given.tables["media"].select(["mediaID", "deploymentID", "timestamp"])
        where = self._given.place(rows["media_id"], rows["file"])
        for row, own in zip(rows.to_pylist(), media.take(where).to_pylist(), strict=True):
            if own["mediaID"] is not None:
                clock = read_clock(own["timestamp"], Refused())
                east = clock.utc_offset if row["utc_offset"] is None else row["utc_offset"]
                ids = {"media_id": own["mediaID"], "deployment_id": own["deploymentID"], "utc_offset": east}
                yield row | ids | {"captured_at": row.get("captured_at") or clock.wall}

    def finish(self) -> list[str]:
        if self.strange:
            warn(f"camtrap-dp: {self.strange:,} images are none of the package's media and got no observation")
        files = [self._copy(name) for name in ("deployments", "media")]
        for path, data in self._given.beside.items():
            whole = Whole(self._home / path)
            whole.path.write_bytes(data)
            files.append(whole.keep())
        return [*files, self._whole.keep(), self._describe()]

    def _copy(self, name: str) -> str:
        table, whole = self._given.tables[name], Whole(self._home / f"{name}.csv")
        writer = csv.DictWriter(whole.text(), table.column_names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(iterate(table))
        return whole.keep()

    def _describe(self) -> str:
        document = deepcopy(self._given.descriptor)
        for resource in document["resources"]:
            if resource.get("name") in NEEDED:
                for name in _OF_OTHERS:
                    resource.pop(name, None)
                resource |= _TABLE | {"path": f"{resource['name']}.csv"}
        theirs = document.get("taxonomic") or []
        known = {entry.get("scientificName") for entry in theirs}
        ours = [entry for entry in taxonomic(self._ladder, self._said) if entry["scientificName"] not in known]
        document["taxonomic"] = [*theirs, *ours]
        if isinstance(project := document.get("project"), dict):
            levels = project.get("observationLevel") or []
            project["observationLevel"] = list(dict.fromkeys([*levels, "media", "event"]))
        document["description"] = _with_sentence(document.get("description"), told(self._maker))
        document["created"], document["xmodal"] = self._maker.at, self._maker.document
        whole = Whole(self._home / "datapackage.json")
        whole.text().write(json.dumps(document, ensure_ascii=False, indent=2))
        return whole.keep()


def _without(observations: pa.Table, maker: Maker) -> pa.Table:
    """Without those of the same model at the same version."""
    if "classifiedBy" not in observations.column_names:
        return observations
    return observations.filter(pc.fill_null(pc.not_equal(observations["classifiedBy"], maker.model), True))


def _fields(standard: tuple[str, ...], table: pa.Table) -> list[str]:
    """The standard's, in its order, and columns beside it."""
    return [*standard, *(name for name in table.column_names if name not in standard)]


def _with_sentence(before: str | None, sentence: str) -> str:
    return f"{before}\n\n{sentence}" if before and sentence not in before else before or sentence
