"""Bursts that grow from version to version, under gaps that change: no old row moves, no new one joins two splits."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.prepare.assigned import SPLITS
from pipelines.prepare.events import with_events
from pipelines.prepare.kept_events import kept
from pipelines.prepare.leakage import leakage
from pipelines.prepare.published import PublishedSplit
from pipelines.prepare.settings import SplitSettings
from pipelines.prepare.splits import Split, assign
from tests.pipelines.placed_rows import File, as_parent, in_splits, table, used
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.tables import survey, walls
from tests.pipelines.test_prepare_flow import image
from tests.pipelines.test_prepare_splits import CIS, EVEN, TIME

FIRST = "2026-05-01 23:50:00"
SHARE = PublishedSplit(kind="published", val=0.4)
Frame = tuple[str, int]
"""Camera and seconds after FIRST. Camera a has a place, the others have none."""
FRAMES = st.tuples(st.sampled_from("aabcdef"), st.integers(0, 40), st.integers(0, 4)).map(
    lambda drawn: (drawn[0], 30 * drawn[1] + 86400 * drawn[2])
)
VERSIONS = st.lists(st.tuples(st.sets(FRAMES, min_size=1, max_size=25), st.integers(29, 200)), min_size=2, max_size=4)


def bursts(frames: list[Frame], gap: int) -> pa.ChunkedArray:
    """(frames,) the event of each by the gap alone."""
    times = walls(FIRST, (time for _, time in frames))
    place = ["a" if camera == "a" else None for camera, _ in frames]
    media = survey({"key": list(map(key_of, frames)), "place": place, "captured_at": times}).media
    return with_events(media, gap)["event_id"]


def key_of(frame: Frame) -> str:
    return f"{frame[0]}/{frame[1]:06d}.jpg"


def with_kept(frames: list[Frame], gap: int, before: Mapping[str, File]) -> list[File]:
    """The rows of a version whose parent held `before`, by key."""
    names = sorted({row.event or "" for row in before.values()})
    was = [names.index(before[key].event or "") if (key := key_of(one)) in before else -1 for one in frames]
    events, meeting = kept(bursts(frames, gap), pa.array(names, pa.string()), np.array(was, np.int32))
    return [
        File(
            key_of(frame),
            "a" if frame[0] == "a" else None,
            key_of(frame).encode().rjust(32),
            event,
            date(2026, 5, 1) + timedelta((frame[1] + 86400 - 600) // 86400),
            published="train",
            meeting=None if met < 0 else met,
        )
        for frame, event, met in zip(frames, events.to_pylist(), meeting.tolist(), strict=True)
    ]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([EVEN, EVEN, CIS, TIME, SHARE]), VERSIONS)
def test_bursts_that_grow_and_gaps_that_change_move_no_old_row(
    policy: SplitSettings, versions: list[tuple[set[Frame], int]]
) -> None:
    held: dict[str, File] = {}
    frames: set[Frame] = set()
    split, pins = None, None
    for more, gap in versions:
        frames |= more
        rows = with_kept(sorted(frames), gap, held)
        known = {row.key: row for row in as_parent([row for row in rows if row.key in held], split)} if split else {}
        now = assign(policy, table([known.get(row.key, row) for row in rows]), pins)
        if split is not None:
            assert in_splits(split).items() <= in_splits(now).items()
            _check_new(rows, bursts(sorted(frames), gap).to_pylist(), held, now)
        assert all(len(found) == 1 for found in used(now, rows, lambda row: row.event).values())
        held, split, pins = {row.key: row for row in rows}, now, now.pinned
        again = with_kept(sorted(frames), gap, held)
        assert [row.event for row in again] == [row.event for row in rows]
        assert in_splits(assign(policy, table(as_parent(again, now)), pins)) == in_splits(now)


def _check_new(rows: list[File], burst: list[str], held: Mapping[str, File], split: Split) -> None:
    """A new row stands in a burst of one split alone."""
    every: dict[str, set[str]] = {}
    for row, name in zip(rows, burst, strict=True):
        every.setdefault(name, set()).add(split.of[row.name][0])
    for row, name in zip(rows, burst, strict=True):
        assert row.key in held or split.of[row.name][0] not in SPLITS or len(every[name] & set(SPLITS)) == 1


def test_what_joins_an_event_takes_its_name_and_what_links_two_is_told() -> None:
    column = pa.chunked_array([["gap:x", "gap:x", "gap:y", "gap:y", "gap:y", "own", "gap:z", None]])
    names = pa.array(["", "gap:a", "gap:b"])
    events, meeting = kept(column, names, np.array([1, -1, 2, -1, 1, 1, 0, 0], np.int32))
    assert events.to_pylist() == ["gap:a", "gap:a", "gap:b", "gap:a", "gap:a", "own", None, None]
    assert meeting.tolist()[:2] == [-1, -1] and len(set(meeting.tolist()[2:5])) == 1
    assert meeting[2] != -1 and meeting.tolist()[5:] == [-1] * 3


@pytest.fixture
def archive(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "coco"))


def put(archive: Store, seconds: list[int]) -> None:
    """A frame of each of 24 cameras without places at each of some times."""
    names = {f"cam{camera:02d}/{second:05d}.jpg": second for camera in range(24) for second in seconds}
    images = [
        {"id": name, "file_name": name, "category": 1, "datetime": walls("2024-05-05 00:00:07", [second])[0]}
        for name, second in names.items()
    ]
    write_coco(archive, images, {name: image(n % 200) + name.encode() for n, name in enumerate(names)})


def told(dataset: Dataset, column: str) -> dict[str, str]:
    return {row["media_id"]: row[column] for row in dataset.records(["media_id", column]).to_pylist()}


def test_no_old_frame_of_a_placeless_archive_moves_and_what_links_two_splits_is_left_out(
    archive: Store, root: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    put(archive, [1000, 1050, 1200])
    data = coco_settings(archive.url, split={"kind": "place", "val": 0.3, "test": 0.3})
    one = prepare(data, root)
    put(archive, [950, 1000, 1050, 1100, 1150, 1200, 1250])  # before, after and between two bursts
    two = prepare(data, root)
    was, now = told(one, "split"), told(two, "split")
    assert was.items() <= now.items() and set(was.values()) == {"train", "val", "test"}
    assert not any(found.count for found in leakage(two))
    apart = {
        camera for camera in {name[:5] for name in was} if was[f"{camera}/01050.jpg"] != was[f"{camera}/01200.jpg"]
    }
    linking = {name for name in now if name not in was and name[:5] in apart}
    assert apart and {name for name in now if now[name] == "none"} == linking
    assert {told(two, "split_reason")[name] for name in linking} == {"cross_split_duplicate"}
    assert all(now[name] == was[f"{name[:5]}/01050.jpg"] for name in now.keys() - linking if name[:5] not in apart)
    wide = prepare(coco_settings(archive.url, split=data.split.model_dump(), event_gap=3600), root)
    assert told(wide, "split") == now and told(wide, "event_id") == told(two, "event_id") and wide.version == 3
    assert "data.event_gap: files of version 2 keep their events" in capsys.readouterr().err
    assert prepare(coco_settings(archive.url, split=data.split.model_dump(), event_gap=3600), root).version == 3
