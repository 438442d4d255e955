"""Times as cameras, programs and spreadsheets write them; dates whose order only the other dates of a survey tell."""

import json
from pathlib import Path

import pytest

from infra.storage import open_store
from pipelines.sources import CocoCameraTraps
from pipelines.sources.clock import read_clock
from pipelines.sources.schema import MEDIA, Refused, Survey


@pytest.mark.parametrize(
    ("written", "wall", "offset"),
    [
        ("25/12/2019 10:00", "2019-12-25 10:00:00", None),
        ("12/25/2019 10:00", "2019-12-25 10:00:00", None),
        ("25-12-2019", "2019-12-25 00:00:00", None),
        ("24/05/2019 6:12:00 PM", "2019-05-24 18:12:00", None),
        ("Jan 2, 2019 10:00:00", "2019-01-02 10:00:00", None),
        ("02-Jan-19 10:00", "2019-01-02 10:00:00", None),
        ("2019-01-02 10:00:00 UTC", "2019-01-02 10:00:00", 0),
        ("2019-01-02 10:00:00 GMT", "2019-01-02 10:00:00", 0),
        ("2019-01-02T10:00:00Z", "2019-01-02 10:00:00", 0),
        ("1/2/2019 3:04", "2019-01-02 03:04:00", None),
        ("20190102030405", "2019-01-02 03:04:05", None),
        ("20190102_030405", "2019-01-02 03:04:05", None),
    ],
)
def test_shapes_that_are_read(written: str, wall: str, offset: int | None) -> None:
    refused = Refused()
    clock = read_clock(written, refused)
    assert (clock.wall, clock.utc_offset, clock.fault) == (wall, offset, None) and not refused.counts


@pytest.mark.parametrize("written", ["2019112233", "1546300800", "201911223", "2019112_03", "32/12/2019", "13/13/2019"])
def test_shapes_that_are_not(written: str) -> None:
    refused = Refused()
    assert read_clock(written, refused, about="m1").fault == "unreadable_time"
    assert refused.examples["unreadable_time"][0].startswith("m1 (9")


def read(folder: Path, *times: str) -> Survey:
    images = [{"id": str(n), "file_name": f"{n}.jpg", "datetime": time} for n, time in enumerate(times)]
    (folder / "m.json").write_text(json.dumps({"images": images, "categories": [], "annotations": []}))
    survey = CocoCameraTraps(kind="coco_camera_traps", metadata="m.json").read(open_store(str(folder)))
    assert survey.media.schema == MEDIA
    return survey


def days(survey: Survey) -> list[str | None]:
    return [time and time[:10] for time in survey.media["captured_at"].to_pylist()]


def test_dates_that_could_be_either_are_read_month_first(tmp_path: Path) -> None:
    for others in ((), ("12/25/2019",), ("2019-12-25",)):
        survey = read(tmp_path, "1/2/2019 10:00", *others)
        assert days(survey)[0] == "2019-01-02" and not survey.refused.counts


def test_but_day_first_in_a_survey_that_writes_so(tmp_path: Path) -> None:
    survey = read(tmp_path, "1/2/2019 10:00", "25/12/2019", "2019-03-04", "5/5/2019", "yesterday")
    assert days(survey) == ["2019-02-01", "2019-12-25", "2019-03-04", "2019-05-05", None]
    assert survey.media["captured_at"][0].as_py() == "2019-02-01 10:00:00"
    assert survey.refused.counts == {"unreadable_time": 1}


def test_and_not_at_all_where_both_orders_are_written(tmp_path: Path) -> None:
    survey = read(tmp_path, "1/2/2019 10:00", "25/12/2019", "12/25/2019", "5/5/2019")
    assert days(survey) == [None, "2019-12-25", "2019-12-25", "2019-05-05"]
    assert survey.media["time_fault"].to_pylist() == ["unreadable_time", None, None, None]
    assert survey.refused.counts == {"ambiguous_time": 1} and survey.refused.examples == {"ambiguous_time": ["0"]}
