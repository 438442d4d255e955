"""Clock checks: each flag on a made-up card that calls for it and on none that does not, and what they do to trust."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import Store, open_store
from pipelines.prepare import clocks, flow, numbering
from pipelines.prepare.facts import Medium, facts
from pipelines.prepare.images import OUTCOMES, PixelReceipt
from pipelines.prepare.parts import LEDGER
from pipelines.prepare.plan import Held, Item
from pipelines.prepare.run import Run
from pipelines.sources.clock import read_clock
from pipelines.sources.schema import OBSERVATIONS, Refused, Survey
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.tables import keys, survey, table, walls
from tests.pipelines.test_prepare_flow import image

HOUR, DAY = 3600, 86400
STEPS = [67 * n * n % 9000 + 300 for n in range(60)]
"""Pauses of a camera, in seconds, none on a full minute for long."""
CARD = np.cumsum(STEPS).tolist()


def flags(
    media: Mapping[str, Sequence[Any]], deployments: Mapping[str, Sequence[Any]] | None = None
) -> list[str | None]:
    found = survey(media, deployments)
    return clocks.written(clocks.check(found), len(found.media))


def card(times: Sequence[str | None], camera: str = "a") -> list[str | None]:
    """Flags of one camera's files, numbered in the order given."""
    return flags({"key": keys(camera, len(times)), "captured_at": times})


def labelled(survey: Survey, labels: list[str]) -> Survey:
    media_ids = survey.media["media_id"].to_pylist()
    return replace(survey, observations=table(OBSERVATIONS, {"media_id": media_ids, "label": labels}))


def lit(hours: list[int], infrared: list[bool]) -> bool:
    """Whether the light gives the lie to a camera's clock; it took a picture at each of `hours` of successive days."""
    times = walls("2024-05-01 00:30:00", (n * DAY + hour * HOUR for n, hour in enumerate(hours)))
    media = survey({"key": keys("a", len(hours)), "captured_at": times}).media
    masks = clocks.light_disagrees(media, np.array(infrared, float), {})
    assert len(set(masks.tolist())) == 1
    return bool(masks[0])


def test_every_flag_is_in_the_table_with_its_trust() -> None:
    rows = re.findall(r"^\| (\w+) \|.*\| (file|camera) \| (yes|no) \|$", clocks.__doc__ or "", re.MULTILINE)
    assert tuple(name for name, _, _ in rows) == clocks.FLAGS
    assert {name for name, _, trusted in rows if trusted == "yes"} == clocks.HARMLESS
    empty = survey({"key": [], "captured_at": []})
    found = clocks.check(empty) | {"light_disagrees": clocks.light_disagrees(empty.media, np.array([]), {})}
    assert set(found) == set(clocks.FLAGS) and not any(map(len, found.values()))


def test_a_good_card_has_no_flag() -> None:
    assert card(walls("2024-05-05 10:00:07", CARD)) == [None] * 60
    assert clocks.trusts(None) and clocks.trusts("hour_back") and not clocks.trusts("hour_back|no_time")


@pytest.mark.parametrize(
    ("written", "flag", "shown"),
    [
        ("1970-01-01T00:03:00Z", "year_out_of_range", "1970-01-01 00:03:00"),
        ("2098-07-01 12:00:00", "year_out_of_range", "2098-07-01 12:00:00"),
        ("0001-01-01 00:00:00", "year_out_of_range", "0001-01-01 00:00:00"),
        ("#ref!", "unreadable_time", None),
        (None, "no_time", None),
    ],
)
def test_a_time_that_the_reader_drops_keeps_its_reason(written: str | None, flag: str, shown: str | None) -> None:
    columns = read_clock(written, Refused()).columns
    assert columns["captured_at"] is None and columns["time_shown"] == shown
    assert flags({"key": ["x.jpg"]} | {name: [value] for name, value in columns.items()}) == [flag]


def test_factory_dates_and_what_ran_on_from_them() -> None:
    alone = ["2000-01-01 17:00:03", "2010-01-01 00:12:00", "2010-01-01 01:12:00", "2016-02-01 00:12:00"]
    lone = flags({"key": [f"{n}/a.jpg" for n in range(4)], "captured_at": alone})
    assert lone == ["default_date", "default_date", None, None]
    good = walls("2019-06-01 10:00:07", CARD)
    reset = walls("2010-01-01 00:00:41", range(0, 8 * HOUR, HOUR))
    assert card(good + reset) == [None] * 60 + ["default_date"] + ["ran_from_default"] * 7
    assert card(reset + good) == ["default_date"] + ["ran_from_default"] * 7 + [None] * 60  # somebody set the clock
    new_year = walls("2018-12-31 20:00:07", CARD)
    assert set(card(new_year)) == {None, "default_date"} and card(new_year)[-1] is None


def test_midnights_are_dates_for_the_camera_or_the_survey() -> None:
    dates = walls("2016-11-04 00:00:00", range(0, 20 * DAY, DAY))
    assert card(dates) == ["date_only"] * 20
    assert card([*dates, None]) == ["date_only"] * 20 + ["no_time"]
    both = {"key": keys("a", 20) + keys("b", 60), "captured_at": dates + walls("2016-11-04 10:00:07", CARD)}
    assert flags(both) == ["date_only"] * 20 + [None] * 60
    few = {"key": keys("a", 3) + keys("b", 20), "captured_at": walls("2016-11-04 10:00:07", CARD[:3]) + dates}
    assert set(flags(few)) == {"date_only"}  # three times prove no clock in a survey of dates
    assert card(walls("2016-11-04 00:00:00", [0, 7, 99])) == [None] * 3


def test_deployments_dates() -> None:
    inside, late = walls("2020-06-01 10:00:07", CARD[:10]), ["2020-08-01 10:00:00"]
    media = {"key": keys("a", 11), "deployment_id": ["d"] * 11, "captured_at": inside + late}
    dates = {"deployment_id": ["other", "d"], "start": [None, "2020-06-01 10:00:00"]}
    assert flags(media, dates | {"end": [None, "2020-06-20 00:00:00"]}) == [None] * 10 + ["outside_deployment"]
    assert flags(media, dates | {"end": [None, "2020-08-01 00:00:00"]}) == [None] * 11
    assert flags(media, dates | {"end": [None, None]}) == [None] * 11
    wrong_year = flags(media, {"deployment_id": ["d"], "start": ["2021-06-01 10:00:00"], "end": [None]})
    assert set(wrong_year) == {"outside_deployment|camera_outside_deployment"}


def test_the_archives_own_doubt_is_of_its_deployment() -> None:
    media = {
        "key": keys("a", 3),
        "deployment_id": ["d", "e", None],
        "captured_at": walls("2020-06-01 10:00:07", [0, 9, 9]),
    }
    doubt = {"deployment_id": ["d", "e"], "clock_fault": [True, None]}
    assert flags(media, doubt) == ["clock_doubted", None, None]


def test_a_clock_set_back_distrusts_the_camera_and_no_other() -> None:
    times = walls("2024-05-05 10:00:07", CARD)
    back = times[:30] + walls(times[29], [one - CARD[29] - 5 * HOUR for one in CARD[30:]])
    other = keys("b", 60)
    found = flags({"key": keys("a", 60) + other, "captured_at": back + walls("2024-05-06 11:00:11", CARD)})
    assert set(found[:60]) == {"goes_back"} and set(found[60:]) == {None}


def test_an_hour_back_is_told_and_trusted() -> None:
    before, after = walls("2024-10-26 16:00:07", range(0, 11 * HOUR, 900)), walls("2024-10-27 02:05:07", CARD)
    found = card(before + after)
    assert set(found) == {None, "hour_back"} and all(clocks.trusts(one) for one in found)
    assert {time[11:13] for time, one in zip(before + after, found, strict=True) if one} == {"02"}


@given(st.integers(4, 53), st.integers(1, 3), st.integers(DAY, 3000 * DAY), st.booleans())
def test_a_stray_time_is_of_its_files_alone(first: int, count: int, jump: int, ahead: bool) -> None:
    """Away from its neighbours and back again: only those files are wrong."""
    moved = [one + (jump if ahead else -jump) if first <= n < first + count else one for n, one in enumerate(CARD)]
    times = walls("1999-05-05 10:00:07", moved)
    expected = ["stray_time" if first <= n < first + count else None for n in range(60)]
    assert [one and one.replace("default_date|", "") for one in card(times)] == expected


def test_names_that_count_nothing_tell_nothing() -> None:
    times = walls("2024-05-05 10:00:07", CARD)
    mixed = [times[37 * n % 60] for n in range(60)]
    assert card(mixed) == [None] * 60  # a shuffled numbering
    hashes = [f"a/{n * 2654435761 % 2**32:08x}.jpg" for n in range(60)]
    assert flags({"key": hashes, "captured_at": mixed}) == [None] * 60
    dated = [f"a/2024{n * 997 % 9999:010d}.jpg" for n in range(60)]
    assert flags({"key": dated, "captured_at": mixed}) == [None] * 60
    wrapped = keys("a", 30, first=9960) + keys("a", 30)  # a counter that began again
    assert flags({"key": wrapped, "captured_at": times}) == [None] * 60


def test_files_numbered_anew_are_no_clock_set_back() -> None:
    """Frames that were sorted by species, or of two cameras put together: each part rises, over the same weeks."""
    times = walls("2024-05-05 10:00:07", CARD)
    assert card(times[::2] + times[1::2]) == [None] * 60
    assert card(times[::3] + times[1::3] + times[2::3]) == [None] * 60
    late_first = times[30:] + times[:30]  # a clock set back, unless each part is all of one species
    assert set(card(late_first)) == {"goes_back"}
    for labels, flag in ((["fox"] * 60, "goes_back"), (["fox"] * 30 + ["badger"] * 30, None)):
        media = {"key": keys("a", 60), "captured_at": late_first}
        found = labelled(survey(media), labels)
        assert set(clocks.written(clocks.check(found), 60)) == {flag}


def test_frames_of_a_burst_share_seconds_and_swap() -> None:
    burst = [one + (3 if n % 7 == 3 else 0) - (2 if n % 7 == 4 else 0) for n, one in enumerate(CARD)]
    assert card(walls("2024-05-05 10:00:07", burst)) == [None] * 60


@given(st.lists(st.integers(0, 12), max_size=40))
def test_the_longest_rising_part_is_longest_and_rising(times: list[int]) -> None:
    kept = np.array(times, float)[numbering.longest_rising(np.array(times, float))]
    best = [0] * len(times)
    for n, one in enumerate(times):
        best[n] = 1 + max((best[m] for m in range(n) if times[m] <= one), default=0)
    assert len(kept) == max(best, default=0) and all(a <= b for a, b in pairwise(kept))


def test_two_sites_with_one_series_of_times_are_mixed_up() -> None:
    times, others = walls("2024-05-05 10:00:07", CARD), walls("2024-05-05 11:11:13", CARD)
    media = {"key": keys("a", 60) + keys("b", 60) + keys("c", 60), "captured_at": [*times, *times, *others]}
    assert flags(media) == ["same_times"] * 120 + [None] * 60
    pair = media | {"deployment_id": ["a"] * 60 + ["b"] * 60 + ["c"] * 60, "place": ["one"] * 120 + ["two"] * 60}
    assert set(flags(pair)) == {None}  # two cameras at one place see the same
    few = media | {"captured_at": times[:20] + walls("2025-01-01 10:00:01", CARD[20:]) + [*times, *others]}
    assert set(flags(few)) == {None}


def test_time_lapse_pictures_are_taken_together() -> None:
    lapse = walls("2024-05-05 00:15:00", range(0, 60 * HOUR, HOUR))
    assert flags({"key": keys("a", 60) + keys("b", 60), "captured_at": lapse * 2}) == [None] * 120


def test_a_clock_turned_by_hours_is_seen_in_the_light() -> None:
    noon, midnight = [10, 11, 12, 13, 14], [22, 23, 0, 1, 2]
    day, night = [False] * 5, [True] * 5
    assert not lit(noon + midnight, day + night)
    assert lit(noon + midnight, night + day)  # AM for PM
    assert lit(noon, night)
    assert not lit(noon + midnight, night + night)  # a camera without colour
    assert not lit(noon + midnight, day + day)  # white flash
    assert not lit(midnight, day)
    assert not lit([12] * 4, [True] * 4)


def test_frames_of_one_burst_are_no_evidence_of_the_light() -> None:
    media = survey({"key": keys("a", 40), "captured_at": walls("2024-05-05 12:00:07", range(40))}).media
    assert not clocks.light_disagrees(media, np.ones(40), {}).any()


def test_clocks_that_are_distrusted_already_say_nothing_of_the_light() -> None:
    media = survey({"key": keys("a", 10), "captured_at": walls("2024-05-05 12:00:07", range(0, 10 * DAY, DAY))}).media
    dark, goes_back = np.ones(10), np.ones(10, bool)
    assert clocks.light_disagrees(media, dark, {"hour_back": goes_back}).all()
    assert not clocks.light_disagrees(media, dark, {"goes_back": goes_back}).any()
    assert not clocks.light_disagrees(media, np.full(10, np.nan), {}).any()


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40 * DAY)), min_size=1, max_size=60), st.randoms())
def test_flags_do_not_depend_on_the_order_of_rows(rows: list[tuple[str, int]], random: Random) -> None:
    times = walls("2010-01-01 00:20:00", (time for _, time in rows))
    files = [(f"{camera}/IMG_{n:04d}.JPG", time) for n, ((camera, _), time) in enumerate(zip(rows, times, strict=True))]

    def by_key(files: list[tuple[str, str]]) -> dict[str, str | None]:
        names, shown = map(list, zip(*files, strict=True))
        return dict(zip(names, flags({"key": names, "captured_at": shown}), strict=True))

    assert by_key(files) == by_key(random.sample(files, len(files)))


def test_daylight_needs_a_clock_and_leaves_dusk_open() -> None:
    light = [clocks.daylight(f"2024-05-05 {hour:02d}:00:00") for hour in (3, 5, 12, 19, 23)]
    assert light == ["night", None, "day", None, "night"] and clocks.daylight(None) is None
    assert "daylight" not in facts(Medium({"captured_at": "2024-05-05 12:00:00"}, [], None), False, False, 0.2)


def test_flags_reach_ledger_records_and_facts(tmp_path: Path, root: Store) -> None:
    """Two places show infrared frames at noon; one of them as often at midnight: a camera without colour."""
    archive = open_store(str(tmp_path / "coco"))
    images, files = [], {}
    for place in range(6):
        for n in range(12):
            grey, name = place in (0, 1), f"{place}/IMG_{n:04d}.JPG"
            hour = 0 if place == 1 and n % 2 else 12
            images.append({"id": name, "file_name": name, "location": f"p{place}", "category": 1,
                           "datetime": f"2024-05-{n + 1:02d} {hour:02d}:{place:02d}:07"})  # fmt: skip
            files[name] = image(20 * place + n, grey=grey)
    images[-1]["datetime"] = "1970-01-01 00:00:00"
    write_coco(archive, images, files)
    dataset = prepare(coco_settings(archive.url), root)
    ledger = {row["key"]: row for row in dataset.ledger().to_pylist()}
    flagged = {key: row["clock_flags"] for key, row in ledger.items() if row["clock_flags"]}
    assert flagged == {name: "light_disagrees" for name in files if name.startswith("0/")} | {
        images[-1]["file_name"]: "year_out_of_range"
    }
    assert {key for key in files if ledger[key]["infrared"]} == {key for key in files if key[0] in "01"}
    assert dataset.document["surveys"][0]["clock_flags"] == {"light_disagrees": 12, "year_out_of_range": 1}
    for row in dataset.records(["media_id", "clock_trusted", "facts", "captured_at"]).to_pylist():
        assert row["clock_trusted"] == (row["media_id"] not in flagged)
        assert ("daylight" in json.loads(row["facts"])) == row["clock_trusted"]
    again = prepare(coco_settings(archive.url), root)
    assert again.version == dataset.version
    images.append(images[0] | {"id": "new", "file_name": "7/IMG_0000.JPG", "location": "p7"})
    write_coco(archive, images, {"7/IMG_0000.JPG": image(99)})
    later = prepare(coco_settings(archive.url), root)
    kept = {row["key"]: row["clock_flags"] for row in later.ledger().to_pylist() if row["clock_flags"]}
    assert kept == flagged


def test_what_an_older_run_has_read_is_measured_from_its_parts(
    tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ledgers and receipts that were written before they told infrared."""
    archive = open_store(str(tmp_path / "coco"))
    names = [f"{place}/IMG_{n:04d}.JPG" for place in range(6) for n in range(6)]
    images = [
        {
            "id": name,
            "file_name": name,
            "location": name[0],
            "category": 1,
            "datetime": f"2024-05-0{name[-5]} 12:00:0{name[0]}",
        }
        for name in names
        if name[-5] != "0"
    ]
    write_coco(archive, images, {name: image(n, grey=name[0] == "0") for n, name in enumerate(names)})
    with monkeypatch.context() as older:
        older.setattr("pipelines.prepare.images.OUTCOMES", OUTCOMES.remove(OUTCOMES.get_field_index("infrared")))
        older.setattr("pipelines.prepare.ledger.LEDGER", LEDGER.remove(LEDGER.get_field_index("infrared")))
        older.setattr("pipelines.prepare.plan.LEDGER", LEDGER.remove(LEDGER.get_field_index("infrared")))
        older.setattr(flow, "clock_flags", no_flags)
        first = prepare(coco_settings(archive.url), root)
        assert set(first.ledger()["infrared"].to_pylist()) == {None}
    second = prepare(coco_settings(archive.url), root)
    assert second.version == 2 and second.document["pixels"] == first.document["pixels"]
    flagged = second.ledger().filter(pc.field("clock_flags") == "light_disagrees")["key"].to_pylist()
    assert flagged == [one["file_name"] for one in images if one["file_name"][0] == "0"]


def no_flags(run: Run, items: list[Item], held: Held) -> dict[str, np.ndarray]:
    return {one.name: np.full(len(one.known.survey.media), None) for one in run.listings}


def test_a_receipt_of_an_older_run_is_read() -> None:
    outcomes = OUTCOMES.empty_table().drop_columns(["infrared"])
    receipt = PixelReceipt.from_bytes(PixelReceipt("item", None, outcomes).to_bytes())
    held = Held({}, {})
    held.add(receipt)
    assert receipt.outcomes.schema.names == OUTCOMES.names and held.parts == {"item": None}
