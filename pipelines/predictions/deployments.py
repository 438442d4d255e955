"""The deployments of a new Camtrap DP package: what the user's table says, and the time that images tell of the rest.

The standard asks for coordinates, start and end of every deployment. A dataset version holds no coordinates, so nobody
but the user can give them; start and end, where the table has none, are the times of the first and last image.
"""

from collections.abc import Mapping
from difflib import get_close_matches

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.predictions.moments import Moments
from pipelines.progress import warn
from pipelines.sources.clock import read_clock
from pipelines.sources.reading import iterate
from pipelines.sources.schema import Refused
from pipelines.sources.tables import ENDINGS, read_table
from xmodal.settings import SettingsError

DEPLOYMENTS = (
    "deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty", "deploymentStart",
    "deploymentEnd", "setupBy", "cameraID", "cameraModel", "cameraDelay", "cameraHeight", "cameraDepth", "cameraTilt",
    "cameraHeading", "detectionDistance", "timestampIssues", "baitUse", "featureType", "habitat", "deploymentGroups",
    "deploymentTags", "deploymentComments",
)  # fmt: skip
"""Fields of the table schema, in its order."""
NEEDED = ("deploymentID", "latitude", "longitude")
LIMITS = {"latitude": 90.0, "longitude": 180.0}
Rows = dict[str, dict[str, str | None]]


def read_deployments(file: str) -> Rows:
    """Rows by deploymentID of a CSV or Parquet table with Camtrap DP's columns. Raises DataRefused, which names file,
    row and value."""
    folder, _, name = file.replace("\\", "/").rpartition("/")
    if not name.lower().endswith(ENDINGS):
        raise SettingsError(f"--deployments {file}: only {', '.join(ENDINGS)} tables are read")
    refused = Refused()
    table = read_table(open_store(folder or "."), name, refused, needed=NEEDED)
    for reason, count in refused.counts.items():
        warn(f"--deployments {file}: {reason} {count}: {', '.join(refused.shown(reason))}")
    if strange := sorted(set(table.column_names) - set(DEPLOYMENTS)):
        warn(f"--deployments {file}: columns that Camtrap DP does not have are left out: {', '.join(strange)}")
    found: Rows = {}
    for number, row in enumerate(iterate(table), start=2):
        where = f"--deployments {file}: row {number}"
        identity = row["deploymentID"]
        if identity is None or identity in found:
            fault = "no deploymentID" if identity is None else f"a second deployment {identity}"
            raise DataRefused(f"{where}: {fault}")
        for column, most in LIMITS.items():
            _check_coordinate(f"{where}: {column} {row[column]!r}", row[column], most)
        times = {name: _time(f"{where}: {name}", row.get(name)) for name in ("deploymentStart", "deploymentEnd")}
        found[identity] = row | times
    return found


def _check_coordinate(where: str, value: str | None, most: float) -> None:
    try:
        inside = value is not None and abs(float(value)) <= most
    except ValueError:
        inside = False
    if not inside:
        raise DataRefused(f"{where} is not a number from -{most:g} to {most:g}")


def _time(where: str, value: str | None) -> str | None:
    """As the standard writes it."""
    found = read_clock(value, Refused())
    if value is not None and found.utc_offset is None:
        raise DataRefused(f"{where} {value!r} is not a time with its offset from UTC, as 2026-05-01T11:00:00+0200")
    return Moments(None).written(found.wall, found.utc_offset)


class Deployed:
    """The deployments that images are of. `add` as they come, `rows` at the end."""

    def __init__(self, known: Rows, file: str) -> None:
        self._known, self._file = known, file
        self._span: dict[str, tuple[str, str]] = {}

    def check(self, images: Mapping[str | None, int]) -> None:
        """`images` of each deployment. Raises DataRefused where the table lacks one of them."""
        lacking = {name: count for name, count in images.items() if name not in self._known}
        if lacking:
            name, count = max(lacking.items(), key=lambda one: one[1])
            near = get_close_matches(name or "", self._known, 1)
            whose = f"deployment {name!r}" if name else "no deployment that is known"
            hint = f"did you mean {near[0]!r}" if near else f"it has {', '.join(sorted(self._known)[:5])}"
            more = f", {len(lacking) - 1} more deployments lack one too" if len(lacking) > 1 else ""
            raise DataRefused(f"--deployments {self._file}: {count:,} images are of {whose}, of which it has no row "
                              f"({hint}{more})")  # fmt: skip

    def add(self, identity: str, moment: str) -> None:
        """An image and its time."""
        first, last = self._span.get(identity, (moment, moment))
        self._span[identity] = min(first, moment), max(last, moment)

    def rows(self) -> list[dict[str, str | None]]:
        """Those that have images."""
        return [self._timed(self._known[name], *span) for name, span in sorted(self._span.items())]

    def _timed(self, row: dict[str, str | None], first: str, last: str) -> dict[str, str | None]:
        return row | {
            "deploymentStart": row.get("deploymentStart") or first,
            "deploymentEnd": row.get("deploymentEnd") or last,
        }
