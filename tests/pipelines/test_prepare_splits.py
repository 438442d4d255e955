"""Splits: places are disjoint and never move, the same bytes never stand in two splits."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataRefused
from pipelines.prepare.settings import PlaceSplit, PublishedSplit
from pipelines.prepare.splits import Placed, assign, check_counts, pins_of, unit_split

SETTINGS = PlaceSplit(kind="place")
USED = ("train", "val", "test")


def row(number: int, place: str | None = "p", data: int | None = None, event: str | None = None, **changes) -> Placed:
    name = f"{number:04d}"
    sha256 = str(number if data is None else data).encode().rjust(32, b"0")
    return replace(Placed("s", name, sha256, place, event, None, True, False), **changes)


ROWS = st.lists(
    st.builds(
        lambda place, data, event: (place, data, event),
        st.one_of(st.none(), st.integers(0, 12).map(str)),
        st.integers(0, 30),
        st.one_of(st.none(), st.integers(0, 8).map(str)),
    ),
    max_size=40,
).map(lambda drawn: [row(number, place, data, event) for number, (place, data, event) in enumerate(drawn)])


def used(splits: dict[tuple[str, str], tuple[str, str | None]], rows: list[Placed], link) -> dict[object, set[str]]:
    """Link value to the splits that hold a row of it."""
    found: dict[object, set[str]] = {}
    for one in rows:
        split = splits[one.survey, one.key][0]
        if split in USED and link(one) is not None:
            found.setdefault(link(one), set()).add(split)
    return found


@given(ROWS)
def test_no_place_event_or_file_stands_in_two_splits(rows: list[Placed]) -> None:
    splits, _ = assign(SETTINGS, rows, None)
    for link in (lambda one: one.place, lambda one: one.sha256, lambda one: one.event):
        assert all(len(found) == 1 for found in used(splits, rows, link).values())
    assert {reason for split, reason in splits.values() if split == "none"} <= {"cross_split_duplicate"}


@given(ROWS, ROWS)
def test_a_new_survey_never_moves_an_old_row(old: list[Placed], new: list[Placed]) -> None:
    before, pins = assign(SETTINGS, old, None)
    seniors = [replace(one, senior=before[one.survey, one.key][0] in USED) for one in old]
    added = [replace(one, survey="t") for one in new]
    after, _ = assign(SETTINGS, [*seniors, *added], pins)
    kept = {name for name, (split, _) in before.items() if split in USED}
    assert all(after[name] == before[name] for name in kept)


@given(st.integers(0, 5), st.integers(2, 40))
def test_few_places_still_fill_val_and_then_test(seed: int, places: int) -> None:
    settings = PlaceSplit(kind="place", seed=seed)
    units = {f"place {number}" for number in range(places)}
    pins = pins_of(units, settings)
    counts = Counter(unit_split(unit, settings, pins) for unit in units)
    assert counts["train"] and counts["val"] and (counts["test"] or places == 2)


def test_the_shares_are_those_asked_for() -> None:
    counts = Counter(unit_split(f"place {number}", SETTINGS, {}) for number in range(4000))
    assert abs(counts["val"] / 4000 - 0.15) < 0.02 and abs(counts["test"] / 4000 - 0.15) < 0.02


def test_the_published_split_is_kept_and_a_copy_in_train_is_left_out() -> None:
    rows = [row(0, None, 7, published="train"), row(1, None, 7, published="test"), row(2, None, 8, published="val")]
    rows += [row(3, None, 9), row(4, None, 10, published="train", labelled=False)]
    splits, pins = assign(PublishedSplit(kind="published"), rows, None)
    assert [splits["s", one.key] for one in rows] == [
        ("none", "cross_split_duplicate"),
        ("test", None),
        ("val", None),
        ("none", "no_published_split"),
        ("none", "unlabelled"),
    ]
    assert pins == {}


def test_an_empty_train_or_val_split_is_refused_in_one_line() -> None:
    check_counts({"train": 1, "val": 1}, "place")
    with pytest.raises(DataRefused, match=r"data\.split \(place\): no image with a text in val \(train 5, val 0"):
        check_counts({"train": 5, "none": 2}, "place")


@given(ROWS.filter(lambda rows: len({one.place for one in rows} - {None}) > 2))
def test_a_place_that_is_held_out_is_all_that_tests(rows: list[Placed]) -> None:
    place = max(one.place for one in rows if one.place)
    settings = PlaceSplit(kind="place", test=0, held_out=(place,))
    splits, pins = assign(settings, rows, None)
    tested = {one.place for one in rows if splits[one.survey, one.key][0] == "test"}
    assert tested <= {place} and {one.unit for one in rows if one.place == place} <= pins.keys()
    assert assign(settings, rows, pins)[0] == splits


def test_a_place_that_no_image_is_from_cannot_be_held_out() -> None:
    settings = PlaceSplit(kind="place", held_out=("nort-ridge",))
    with pytest.raises(
        DataRefused, match=r"held_out: no labelled image is from 'nort-ridge'; did you mean north-ridge"
    ):
        assign(settings, [row(1, "north-ridge"), row(2, "south")], None)
