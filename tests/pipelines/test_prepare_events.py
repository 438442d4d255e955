"""Events by camera and gap: which frames belong together, under what name, and where the names go."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.storage import Store, open_store
from pipelines.prepare.events import MADE, with_events
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.tables import keys, survey, walls
from tests.pipelines.test_prepare_flow import image

FIRST = "2024-05-05 10:00:07"
Frame = tuple[str, str]
"""Key and wall time."""


def events(media: dict[str, Any], gap: float = 60) -> list[str | None]:
    return with_events(survey(media).media, gap)["event_id"].to_pylist()


def by_key(frames: list[Frame], gap: float = 60) -> dict[str, str | None]:
    names, times = map(list, zip(*frames, strict=True))
    return dict(zip(names, events({"key": names, "captured_at": times}, gap), strict=True))


def groups(found: dict[str, str | None]) -> set[frozenset[str]]:
    return {frozenset(key for key, event in found.items() if event == name) for name in found.values()}


@st.composite
def cards(draw: st.DrawFn) -> list[Frame]:
    """Frames of up to three cameras, of which several may share a second."""
    taken = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 900)), min_size=1, max_size=40))
    times = walls(FIRST, (time for _, time in taken))
    return [(f"{camera}/{n:04d}.jpg", time) for n, ((camera, _), time) in enumerate(zip(taken, times, strict=True))]


def test_a_pause_longer_than_the_gap_begins_an_event() -> None:
    media = {"key": keys("a", 5) + keys("b", 1), "captured_at": walls(FIRST, [0, 60, 121, 121, 400, 400])}
    found = events(media)
    assert found[0] == found[1] and found[2] == found[3]
    assert len(set(found)) == 4 and all(str(one).startswith(MADE) for one in found)
    assert len(set(events(media, 61))) == 3 and len(set(events(media, 0))) == 5


def test_the_archives_own_events_stay_and_dates_make_none() -> None:
    times = [*walls(FIRST, [0, 1, 2]), None]
    media = {"key": keys("a", 4), "captured_at": times, "event_id": [None, "own", None, None]}
    first, own, third, unknown = events(media)
    assert own == "own" and first == third and unknown is None
    dates = walls("2024-05-05 00:00:00", [0] * 12)
    assert events({"key": keys("a", 12), "captured_at": dates}) == [None] * 12


def test_a_clock_set_to_a_wrong_year_still_orders_a_burst() -> None:
    shown = walls("1970-01-01 00:00:09", [0, 1, 500])
    media = {"key": keys("a", 3), "time_shown": shown, "time_fault": ["year_out_of_range"] * 3}
    first, second, third = events(media)
    assert first == second != third and first and third


@pytest.mark.parametrize("column", ["deployment_id", "place"])
def test_a_camera_is_a_deployment_else_a_place_else_a_folder(column: str) -> None:
    times = {"captured_at": walls(FIRST, [0, 1, 2, 3])}
    media = times | {"key": ["x/1.jpg", "x/2.jpg", "y/1.jpg", "y/2.jpg"]}
    folders = events(media)
    assert folders[0] == folders[1] != folders[2] == folders[3]
    named = events(media | {column: ["one", "two", "one", None]})
    assert named[0] == named[2] and len(set(named)) == 3
    assert len(set(events(media | {"deployment_id": ["d"] * 4, "place": ["p", "p", "q", "q"]}))) == 1


@given(cards(), st.integers(0, 90), st.randoms())
def test_the_order_of_rows_changes_nothing(frames: list[Frame], gap: int, random: Random) -> None:
    assert by_key(random.sample(frames, len(frames)), gap) == by_key(frames, gap)


@given(cards(), st.integers(0, 90), st.integers(0, 90))
def test_a_larger_gap_only_merges(frames: list[Frame], gap: int, more: int) -> None:
    narrow, wide = groups(by_key(frames, gap)), groups(by_key(frames, gap + more))
    assert all(any(small <= large for large in wide) for small in narrow)


@given(cards(), st.integers(0, 90), st.integers(1, 5000), st.booleans())
def test_a_file_elsewhere_or_much_later_renames_nothing(frames: list[Frame], gap: int, away: int, same: bool) -> None:
    name = "a/9999.jpg" if same else "d/0000.jpg"
    new = (name, walls(FIRST, [900 + gap + away if same else 0])[0])
    assert by_key([*frames, new], gap).items() >= by_key(frames, gap).items()


@given(cards(), st.integers(0, 90))
def test_members_are_neighbours_of_one_camera(frames: list[Frame], gap: int) -> None:
    times = dict(frames)
    for members in groups(by_key(frames, gap)):
        assert len({key[0] for key in members}) == 1
        seconds = sorted(int(times[key][14:16]) * 60 + int(times[key][17:]) for key in members)
        assert all(b - a <= gap for a, b in pairwise(seconds))


def test_made_events_reach_records_and_the_gap_is_a_setting(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "coco"))
    names = [f"{place}/{n}.jpg" for place in range(6) for n in range(4)]
    images = [
        {"id": name, "file_name": name, "location": name[0], "category": 1, "datetime": walls(FIRST, [50 * n])[0]}
        for name, n in zip(names, list(range(4)) * 6, strict=True)
    ]
    images[0]["seq_id"] = "own"
    write_coco(archive, images, {name: image(n) for n, name in enumerate(names)})
    wide = prepare(coco_settings(archive.url), root).records(["media_id", "event_id"]).to_pylist()
    found = {row["media_id"]: row["event_id"] for row in wide}
    assert found["0/0.jpg"] == "own" and len(set(found.values())) == 7
    narrow = prepare(coco_settings(archive.url, event_gap=49), root.child("narrow"))
    assert len(set(narrow.records(["event_id"])["event_id"].to_pylist())) == 24
    later = prepare(coco_settings(archive.url, event_gap=49), root)
    assert later.version == 2 and later.records(["media_id", "event_id"]).to_pylist() == wide  # decided once
    anew = prepare(coco_settings(archive.url, event_gap=49, split={"kind": "place", "seed": 1}), root)
    assert len(set(anew.records(["event_id"])["event_id"].to_pylist())) == 24
