"""Whether a camera's clock can be believed, and what it says of the light.

Times are the local wall time that the camera showed, with its offset from UTC where the archive states one. Every check
leaves a flag in the ledger's `clock_flags`; a flag of a whole camera stands at each of its files. A clock is trusted
where no flag that distrusts it is left.

| flag | what it is evidence of | of | trusted |
|---|---|---|---|
| no_time | nothing is written | file | no |
| unreadable_time | what is written is no time | file | no |
| year_out_of_range | before 1990 or after this year: a clock never set, or set wrong | file | no |
| default_date | 1 January at 00:xx, or any time of 2000-01-01: where clocks start | file | no |
| ran_from_default | its file number follows a default date, and nobody has set the clock since | file | no |
| date_only | most of the camera's times are midnight sharp: dates without times | camera | no |
| outside_deployment | more than a day before its deployment's start or behind its end | file | no |
| camera_outside_deployment | so are most files of it: a wrong year, or another deployment's card | camera | no |
| clock_doubted | the archive itself says so (Camtrap DP's timestampIssues) | camera | no |
| stray_time | a jump of more than an hour against the neighbours by file number, and back again | file | no |
| goes_back | by file numbers it was set back by more than an hour: which part is right? | camera | no |
| hour_back | it goes back by an hour at most: the end of summer time, or a clock put right | file | yes |
| same_times | its times are, to the second, those of a camera elsewhere: cards or tables mixed up | camera | no |
| light_disagrees | infrared frames at noon, and not as often at midnight: a clock turned by hours | camera | no |

An hour does not make a night of a day, since the hours near dusk and dawn are left open for want of a latitude; whether
it was summer time cannot be known without a time zone. Not seen are a clock that only ever jumps ahead inside its
deployment, one set back in files that were numbered anew, and one turned by hours whose camera takes white-flash
pictures or nothing at noon.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from pipelines.prepare import cameras, numbering
from pipelines.prepare.cameras import pc
from pipelines.sources.schema import Survey

FLAGS = ("no_time", "unreadable_time", "year_out_of_range", "default_date", "ran_from_default", "date_only",
         "outside_deployment", "camera_outside_deployment", "clock_doubted", "stray_time", "goes_back", "hour_back",
         "same_times", "light_disagrees")  # fmt: skip
"""In the order they are written."""
HARMLESS = {"hour_back"}
"""Flags with which a clock is still trusted."""

DAY = range(8, 17)
NIGHT = (21, 22, 23, 0, 1, 2, 3)
NOON = (10, 11, 12, 13, 14)
MIDNIGHT = (22, 23, 0, 1, 2)
FEWEST_TIMES = 10
"""Times from which a camera is judged by itself."""
MOST_MIDNIGHTS = 0.5
MOST_OUTSIDE = 0.5
MOST_SHARED = 0.5
"""Shares of a camera's times above which the whole camera is flagged."""
FEWEST_HOURS = 5
"""Hours with a picture, near noon or midnight, from which their light counts: frames of one burst are no evidence."""
DARKER = 0.25
"""By how much more often frames must be infrared at noon than at midnight: a camera without colour never is."""
_DAY = 86400.0

Masks = dict[str, np.ndarray]
"""bool (rows,) of MEDIA by flag."""


def check(survey: Survey) -> Masks:
    """What the metadata alone tell."""
    media = survey.media
    camera, times = cameras.codes(cameras.names(media)), cameras.seconds(media["captured_at"])
    fault = {name: _is(media["time_fault"], name) for name in ("unreadable_time", "year_out_of_range")}
    found = fault | {"no_time": np.isnan(times) & ~fault["unreadable_time"] & ~fault["year_out_of_range"]}
    found |= {"date_only": date_only(camera, times), "same_times": same_times(camera, times, media["place"])}
    found["default_date"] = default_date(times) & ~found["date_only"]
    usable = ~np.isnan(times) & ~found["date_only"]
    order = cameras.numbered(media, camera, usable, numbering.WIDEST)
    numbers = numbering.check(order, times, found["default_date"], cameras.labels(survey))
    found |= {"ran_from_default": numbers.ran_from_default, "hour_back": numbers.hour_back}
    found |= {"stray_time": numbers.stray, "goes_back": of_cameras(camera, numbers.goes_back)}
    return found | deployed(survey, times)


def _is(column: pa.ChunkedArray, value: str) -> np.ndarray:
    return pc.fill_null(pc.equal(column, value), False).to_numpy()


def of_cameras(camera: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask spread over all rows of every camera that has one."""
    return np.isin(camera, camera[mask])


def _share(groups: np.ndarray, mask: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(groups,) how many rows of each group are in `of`, and the share of them that is in `mask`."""
    size = int(groups.max(initial=-1)) + 1
    whole = np.bincount(groups[of], minlength=size)
    return whole, np.bincount(groups[of & mask], minlength=size) / np.maximum(whole, 1)


def date_only(camera: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Whether a camera's times are dates that became midnight; one with fewer than ten is judged with the survey."""
    known, midnight = ~np.isnan(times), times % _DAY == 0
    whole, share = _share(camera, midnight, known)
    _, of_survey = _share(np.zeros_like(camera), midnight, known)
    share = np.where(whole >= FEWEST_TIMES, share, of_survey[0] if len(of_survey) else 0)
    return known & (share > MOST_MIDNIGHTS)[camera]


def default_date(times: np.ndarray) -> np.ndarray:
    """1 January 00:xx of any year, and all of 2000-01-01."""
    known = np.nan_to_num(times).astype("datetime64[s]")
    first = known.astype("datetime64[D]") == known.astype("datetime64[Y]").astype("datetime64[D]")
    millennium = known.astype("datetime64[D]") == np.datetime64("2000-01-01")
    return ~np.isnan(times) & (millennium | (first & (times % _DAY < 3600)))


def deployed(survey: Survey, times: np.ndarray) -> Masks:
    """The checks against the deployments' dates and the archive's own doubt. A day is allowed beside both dates: some
    archives state dates without times, or in another zone."""
    table = survey.deployments
    row = pc.index_in(survey.media["deployment_id"], value_set=table["deployment_id"], skip_nulls=True)
    named = row.is_valid().to_numpy()
    place = pc.fill_null(row, 0).to_numpy()
    start, end = (_at(cameras.seconds(table[name]), place, named, np.nan) for name in ("start", "end"))
    end = end + np.where(end % _DAY == 0, _DAY, 0)
    outside = (times < start - _DAY) | (times > end + _DAY)
    groups = np.where(named, place, len(table))
    _, share = _share(groups, outside, named & ~np.isnan(times))
    doubted = pc.fill_null(table["clock_fault"], False).to_numpy()
    return {
        "outside_deployment": outside,
        "camera_outside_deployment": named & (share > MOST_OUTSIDE)[groups],
        "clock_doubted": _at(doubted, place, named, False),
    }


def _at(column: np.ndarray, place: np.ndarray, named: np.ndarray, otherwise: float | bool) -> np.ndarray:
    """A deployments' column for each medium."""
    return np.where(named, np.r_[column, [otherwise]][np.where(named, place, len(column))], otherwise)


def same_times(camera: np.ndarray, times: np.ndarray, places: pa.ChunkedArray) -> np.ndarray:
    """Cameras of which most times, and ten at least, are those of one other camera that is not known to stand at the
    same place. Full minutes count for nothing: there clocks that are set alike take time-lapse pictures."""
    size = int(camera.max(initial=0)) + 1
    telling = np.flatnonzero(~np.isnan(times) & (times % 60 != 0))
    when, who = np.divmod(np.unique(times[telling].astype(np.int64) * size + camera[telling]), size)
    own = np.bincount(who, minlength=size)
    meet = np.diff(when) == 0
    met, shared = np.unique(who[:-1][meet] * size + who[1:][meet], return_counts=True)
    first, second = np.divmod(met, size)
    place = np.full(len(own), -1)
    place[camera] = cameras.codes(places)
    apart = (place[first] != place[second]) | (place[first] == -1)
    most = shared > MOST_SHARED * np.minimum(own[first], own[second])
    alike = apart & most & (shared >= FEWEST_TIMES)
    return np.isin(camera, np.r_[first[alike], second[alike]])


def light_disagrees(media: pa.Table, infrared: np.ndarray, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """As `turned` has it, of clocks not distrusted by `masks`."""
    camera, times = cameras.codes(cameras.names(media)), cameras.seconds(media["captured_at"])
    return turned(camera, times, infrared, trusted(masks, len(times)))


def turned(camera: np.ndarray, times: np.ndarray, infrared: np.ndarray, believed: np.ndarray) -> np.ndarray:
    """Cameras whose frames are mostly infrared at noon, and less often at midnight, where they took any.

    `infrared`: float (rows,), NaN = not measured. Counted by hours with a picture, over clocks that are `believed`.
    """
    telling = np.flatnonzero(~np.isnan(times + infrared) & believed)
    hours = (times[telling] // 3600).astype(np.int64) * (int(camera.max(initial=0)) + 1) + camera[telling]
    taken, frame = np.unique(hours, return_inverse=True)
    hour, owner = np.divmod(taken, int(camera.max(initial=0)) + 1)
    dark = np.bincount(frame, infrared[telling]) / np.bincount(frame) > 0.5
    everyone = np.r_[owner, camera.max(initial=-1)]  # so that both shares have a place for every camera
    noon, at_noon = _share(everyone, np.r_[dark, False], np.r_[np.isin(hour % 24, NOON), False])
    night, at_night = _share(everyone, np.r_[dark, False], np.r_[np.isin(hour % 24, MIDNIGHT), False])
    found = (noon >= FEWEST_HOURS) & (at_noon > 0.5) & ((night < FEWEST_HOURS) | (at_noon - at_night > DARKER))
    return found[camera]


def trusted(masks: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """bool (rows,): whether no flag distrusts the clock."""
    against = [mask for name, mask in masks.items() if name not in HARMLESS]
    return ~np.logical_or.reduce(against) if against else np.ones(rows, bool)


def written(masks: Mapping[str, np.ndarray], rows: int) -> list[str | None]:
    """The flags of each row as the ledger writes them, `a|b`; null where there is none."""
    return texts(bits(masks, rows)).tolist()


def bits(masks: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """int32 (rows,) sets of flags: one bit for each of FLAGS."""
    sets = np.zeros(rows, np.int32)
    for name, mask in masks.items():
        sets |= np.where(mask, bit(name), 0).astype(np.int32)
    return sets


def bit(name: str) -> int:
    return 1 << FLAGS.index(name)


def texts(sets: np.ndarray) -> np.ndarray:
    """(rows,) str or None: what `written` gives of sets of flags."""
    found = np.full(1 << len(FLAGS), None, object)
    for one in np.unique(sets).tolist():
        found[one] = "|".join(name for name in FLAGS if one & bit(name)) or None
    return found[sets]


def trusts(flags: str | None) -> bool:
    """Whether a clock with these flags, as the ledger writes them, is trusted."""
    return flags is None or set(flags.split("|")) <= HARMLESS


def daylight(captured_at: str | None) -> str | None:
    """day, night, or None for an unknown time and the hours between."""
    if captured_at is None:
        return None
    hour = int(captured_at[11:13])
    return "day" if hour in DAY else "night" if hour in NIGHT else None
