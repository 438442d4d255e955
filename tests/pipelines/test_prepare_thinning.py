"""Near-duplicate thinning: what is compared with what, and what becomes of the frames that are left out."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.prepare import images
from pipelines.prepare.facts import Medium
from pipelines.prepare.images import prepared
from pipelines.prepare.thinning import Frame, ThinSettings, near_duplicates
from tests.pipelines.labels import label, observation
from tests.pipelines.surveys import prepare, settings
from xmodal.look import distance

FOX, HARE = label("Vulpes vulpes", "species"), label("Lepus europaeus", "species")
THIN: dict[str, Any] = {"thin": {"distance": 64}}


def frame(key: str, look: int, of: dict[str, Any] = FOX, event: str = "e", time: str | None = None) -> Frame:
    return key, look, Medium({"event_id": event, "captured_at": time, "time_shown": None}, [observation(of)], None)


def left_out(*frames: Frame, bits: int = 4) -> list[str]:
    return list(near_duplicates(frames, ThinSettings(distance=bits), 0.2))


def test_a_frame_leaves_that_looks_like_a_kept_one():
    assert left_out(frame("a", 0), frame("b", 0b1111), frame("c", 0b11111), frame("d", 0b111111)) == ["b", "d"]
    assert left_out(frame("a", 0), frame("b", 1), bits=0) == []
    assert left_out(frame("a", -1), frame("b", 0), bits=63) == []


def test_the_first_by_time_stays_and_by_name_where_there_is_none():
    later, earlier = frame("a", 0, time="2024-01-01 10:00:05"), frame("b", 0, time="2024-01-01 10:00:00")
    assert left_out(later, earlier) == ["a"] and left_out(frame("b", 0), frame("a", 0)) == ["b"]


def test_other_events_and_other_labels_are_not_compared():
    assert left_out(frame("a", 0), frame("b", 0, event="f"), frame("c", 0, of=HARE)) == []
    box = {"boxes": [[0, 0, 1, 1]], "confidences": [0.9], "classes": ["animal"]}
    shown = ("b", 0, Medium({"event_id": "e", "captured_at": None, "time_shown": None}, [observation(FOX)], box))
    assert left_out(frame("a", 0), shown) == []


@given(st.lists(st.integers(0, 255), max_size=30), st.integers(0, 8))
def test_those_that_stay_differ_and_those_that_leave_do_not(looks: list[int], bits: int):
    frames = [frame(f"{n:02}", look) for n, look in enumerate(looks)]
    gone = set(left_out(*frames, bits=bits))
    kept = [look for key, look, _ in frames if key not in gone]
    assert all(distance(one, other) > bits for n, one in enumerate(kept) for other in kept[:n])
    assert all(min(distance(look, other) for other in kept) <= bits for key, look, _ in frames if key in gone)


def splits(dataset: Dataset) -> dict[str, tuple[str, str | None, str | None]]:
    table = dataset.records(["media_id", "split", "split_reason", "event_id"])
    return {row["media_id"]: (row["split"], row["split_reason"], row["event_id"]) for row in table.to_pylist()}


def test_training_frames_alone_leave_and_have_a_reason(archive: Store, root: Store, counted: Counter[str]):
    """At a distance of 64 bits one frame stays of those of an event that are labelled alike."""
    before = splits(prepare(settings(archive.url), root))
    counted.clear()
    thinned = prepare(settings(archive.url, **THIN), root)
    assert not [key for key, size in counted.items() if size and key.lower().endswith(".jpg")]
    after = splits(thinned)
    gone = {name for name, (_, reason, _) in after.items() if reason == "near_duplicate"}
    assert {before[name][1] for name in gone} <= {None, "no_caption", "blank_beyond_share"}
    assert all(before[name][0] in ("train", "none") and before[name][2] for name in gone)
    assert any(before[name][0] == "train" for name in gone)
    assert all(after[name] == before[name] for name in before.keys() - gone)
    unused = thinned.document["surveys"][0]["unused"]
    assert unused["near_duplicate"] == len(gone)
    blanks = {event for _, reason, event in before.values() if reason == "blank_beyond_share"}
    kept = {event for split, _, event in after.values() if split == "train"}
    assert kept | blanks >= {event for split, _, event in before.values() if split == "train" and event}


def without_look(*arguments: Any) -> Any:
    outcome, found = prepared(*arguments)
    return outcome | {"look": None}, found


def test_frames_read_before_the_hash_was_kept_are_read_again(
    archive: Store, root: Store, counted: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    """A version that older code made says nothing of it."""
    monkeypatch.setattr(images, "prepared", without_look)
    old = prepare(settings(archive.url), root)
    monkeypatch.undo()
    assert set(old.ledger(["look"])["look"].to_pylist()) == {None}
    counted.clear()
    prepare(settings(archive.url), root)
    assert not [key for key, size in counted.items() if size and key.lower().endswith(".jpg")]
    thinned = prepare(settings(archive.url, **THIN), root)
    assert "near_duplicate" in thinned.document["surveys"][0]["unused"] and thinned.check(read_data=True) == []
