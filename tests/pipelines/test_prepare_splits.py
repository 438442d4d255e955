"""Splits: what must not stand in two splits never does, and what stands in one stays there whatever is added."""

import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from pipelines.errors import DataRefused
from pipelines.prepare.by_place import PlaceSplit
from pipelines.prepare.by_time import TimeSplit
from pipelines.prepare.published import PublishedSplit
from pipelines.prepare.splits import Split, assign, check_counts, told
from pipelines.prepare.units import Rows, place_hash
from tests.pipelines.placed_rows import File, as_parent, file, in_splits, rows_of, some, table, used
from xmodal.settings import fingerprint

PLACE = PlaceSplit(kind="place")
EVEN = PlaceSplit(kind="place", val=0.3, test=0.3)
CIS = PlaceSplit(kind="place", val=0.2, test=0.2, cis_val=0.3, cis_test=0.3)
TIME = TimeSplit(kind="time", cut=date(2026, 5, 4), val=0.4)
BY_SURVEY = TimeSplit(kind="time", cut={"s": date(2026, 5, 4)}, new=("u",), val=0.4)
POLICIES = st.sampled_from([EVEN, CIS, TIME, BY_SURVEY])
SURVEYS = st.tuples(rows_of("s"), rows_of("t"), rows_of("u")).map(lambda three: [row for rows in three for row in rows])


def first(policy: PlaceSplit | TimeSplit, rows: list[File]) -> Split:
    """The split of a first version; drawn events that weld all places are not what is looked at."""
    try:
        return assign(policy, table(rows), None)
    except DataRefused as error:
        assert "link all places" in str(error)
        reject()


def place_of(row: File) -> tuple[str, str] | None:
    return None if row.place is None else (row.places_of or row.survey, row.place)


def event_of(row: File) -> tuple[str, str] | None:
    return None if row.event is None else (row.survey, row.event)


def one_day(rows: list[File]):
    """A row's place and day, where it has no event or one that stands nowhere else."""
    cells: dict[object, set[object]] = {}
    for row in rows:
        if row.day:
            cells.setdefault(event_of(row), set()).add((place_of(row), row.day))

    def day_of(row: File):
        inside = row.event is None or len(cells.get(event_of(row), ())) == 1
        return (place_of(row), row.day) if row.day and row.place and inside else None

    return day_of


@settings(max_examples=60, deadline=None)
@given(POLICIES, SURVEYS)
def test_no_event_file_or_day_stands_in_two_splits(policy: PlaceSplit | TimeSplit, rows: list[File]) -> None:
    split = first(policy, rows)
    assert split.of.keys() == {row.name for row in rows}
    for link in (lambda row: row.sha256, event_of):
        assert all(len(found) == 1 for found in used(split, rows, link).values())
    days = used(split, rows, one_day(rows)).values()
    assert all(len(found - {"test"}) <= 1 for found in days)
    assert all(len(found) == 1 for found in days) or policy is BY_SURVEY  # its surveys are cut at other days


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([EVEN, CIS]), SURVEYS)
def test_places_are_apart_and_the_cis_sets_are_at_places_that_train(policy: PlaceSplit, rows: list[File]) -> None:
    split = first(policy, rows)
    for found in used(split, rows, place_of).values():
        assert len({name.replace("cis_val", "train").replace("cis_test", "train") for name in found}) == 1
    cis = [row for row in rows if split.of[row.name][0].startswith("cis")]
    trains = used(split, rows, place_of)
    copied = {place_of(row) for row in rows if split.of[row.name] == ("none", "cross_split_duplicate")}
    assert all("train" in trains[place_of(row)] for row in cis if row.event is None and place_of(row) not in copied)


@settings(max_examples=60, deadline=None)
@given(POLICIES, SURVEYS, SURVEYS, st.randoms(use_true_random=False))
def test_adding_rows_never_moves_an_old_row(
    policy: PlaceSplit | TimeSplit, old: list[File], more: list[File], draw: random.Random
) -> None:
    before = first(policy, old)
    rows = as_parent(old, before) + [replace(row, key=f"{draw.choice('az')}{row.key}") for row in more]
    after = assign(policy, table(rows), before.pinned)
    assert in_splits(before).items() <= in_splits(after).items()
    third = assign(policy, table(as_parent(rows, after)), after.pinned)
    assert in_splits(third) == in_splits(after)
    assert before.pinned.items() <= after.pinned.items() == third.pinned.items()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([EVEN, CIS]), SURVEYS, SURVEYS)
def test_adding_rows_never_moves_an_old_place(policy: PlaceSplit, old: list[File], more: list[File]) -> None:
    before = first(policy, old)
    rows = as_parent(old, before) + [replace(row, key=f"a{row.key}") for row in more]
    after = assign(policy, table(rows), before.pinned)
    was, now = used(before, old, place_of), used(after, rows, place_of)
    assert all({"train"} & was[place] <= now[place] for place in was)
    assert all(now[place] == was[place] for place in was if was[place] & {"val", "test"})


@settings(max_examples=60, deadline=None)
@given(POLICIES, SURVEYS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_surveys_changes_nothing(
    policy: PlaceSplit | TimeSplit, rows: list[File], draw: random.Random
) -> None:
    shuffled = draw.sample(rows, len(rows))
    assert first(policy, shuffled) == first(policy, rows)


def test_another_process_splits_the_same_way() -> None:
    code = (
        "from pipelines.prepare.splits import assign\n"
        "from tests.pipelines.placed_rows import some, table\n"
        "from tests.pipelines.test_prepare_splits import CIS\n"
        "print(repr(assign(CIS, table(some()), None)))"
    )
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": "."}
    run = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True)
    assert run.stdout.strip() == repr(assign(CIS, table(some()), None)), run.stderr


def test_an_event_welds_the_places_it_is_seen_from() -> None:
    rows = [file(n, str(n // 4), event=f"pair {n // 8}" if n % 4 == 0 else None) for n in range(400)]
    split = assign(EVEN, table(rows), None)
    assert not any(reason for _, reason in split.of.values())
    pairs = used(split, rows, lambda row: int(row.key) // 8)
    assert all(len(found) == 1 for found in pairs.values()) and len(pairs) == 50
    assert {name for found in pairs.values() for name in found} == {"train", "val", "test"}


def test_a_copy_welds_no_places_and_copies_of_loose_files_stay_together() -> None:
    black = [file(n, str(n // 4), data=-1 if n % 4 == 0 else n) for n in range(400)]
    split = assign(EVEN, table(black), None)
    assert set(Counter(used(split, black, lambda row: row.place)).keys()) == {str(n) for n in range(100)}
    assert len(set(in_splits(split).values())) == 3
    loose = [file(n, None, data=n // 2) for n in range(200)]
    assert not any(reason for _, reason in assign(EVEN, table(loose), None).of.values())


def test_a_new_place_joins_the_old_one_that_an_event_links_it_to_and_joins_no_two() -> None:
    old = [file(n, str(n)) for n in range(40)]
    before = assign(EVEN, table(old), None)
    train, test = (next(row for row in old if before.of[row.name][0] == name) for name in ("train", "test"))
    seniors = as_parent(old, before)
    rows = [replace(row, event="left") if row.name == train.name else row for row in seniors]
    rows = [replace(row, event="right") if row.name == test.name else row for row in rows]
    rows += [file(100, "new", event="left"), file(101, "new", event="right"), file(102, "new")]
    after = assign(EVEN, table(rows), before.pinned)
    joined = after.of["s", "0102"][0]
    assert joined in ("train", "test") and in_splits(before).items() <= in_splits(after).items()
    left_out = {name for name, given in after.of.items() if given == ("none", "cross_split_duplicate")}
    assert left_out == {("s", "0101" if joined == "train" else "0100")}
    assert after.pinned.get(f"place {place_hash('s', 'new')}", joined) == joined


def test_events_that_weld_all_places_are_refused_with_the_event_seen_from_most() -> None:
    rows = [file(n, str(n % 20), event=str(n // 20)) for n in range(60)] + [file(60, "7", event="x")]
    with pytest.raises(DataRefused, match=r"survey s: event 0 is seen from 20 places, .*unique within a survey"):
        assign(PLACE, table(rows), None)


def test_the_next_season_at_the_same_cameras_is_at_the_same_places() -> None:
    rows = [file(n, str(n), survey="autumn") for n in range(40)]
    apart = rows + [file(n, str(n), 100 + n, survey="spring") for n in range(40)]
    together = rows + [file(n, str(n), 100 + n, survey="spring", places_of="autumn") for n in range(40)]
    for table_rows, same in ((apart, False), (together, True)):
        of = assign(EVEN, table(table_rows), None).of
        assert all(of["autumn", f"{n:04d}"] == of["spring", f"{n:04d}"] for n in range(40)) is same


def test_the_cis_sets_take_their_share_of_the_days_and_leave_each_place_one() -> None:
    policy = PlaceSplit(kind="place", cis_val=0.1, cis_test=0.2)
    rows = [file(n, str(n // 120), event=str(n // 3), day=n % 120 // 3) for n in range(200 * 120)]
    of = assign(policy, table(rows), None)
    counts = Counter(in_splits(of).values())
    training = counts["train"] + counts["cis_val"] + counts["cis_test"]
    assert abs(counts["cis_val"] / training - 0.1) < 0.02 and abs(counts["cis_test"] / training - 0.2) < 0.02
    plain = assign(PLACE, table(rows), None)
    assert {name for name, split in in_splits(plain).items() if split == "train"} == {
        name for name, split in in_splits(of).items() if split not in ("val", "test")
    }
    few = [file(n, str(n), day=0) for n in range(300)]
    assert not {"cis_val", "cis_test"} & set(in_splits(assign(CIS, table(few), None)).values())


def test_an_event_across_midnight_goes_with_its_first_day_also_when_an_earlier_frame_comes() -> None:
    days = [file(n, str(n // 8), day=n % 8) for n in range(800)]
    nights = [file(1000 + n, str(n // 8), event=str(n), day=n % 8 + hour) for n in range(800) for hour in (0, 1)]
    rows = days + [replace(row, key=f"{row.key}-{n % 2}", sha256=b"%32d" % n) for n, row in enumerate(nights)]
    split = assign(CIS, table(rows), None)
    first = {row.name: split.of[row.name][0] for row in days}
    for row in rows[len(days) :]:
        assert row.event and split.of[row.name][0] == first["s", f"{int(row.event):04d}"]
    more = [file(5000 + int(row.event or 0), row.place, event=row.event, day=-30) for row in nights[::2]]
    after = assign(CIS, table(as_parent(rows, split) + more), split.pinned)
    assert in_splits(split).items() <= in_splits(after).items()
    assert any(name.startswith("whole event") for name in after.pinned)


def test_rows_without_a_day_train_beside_the_cis_sets() -> None:
    rows = [file(n, str(n // 9), day=n % 9 if n % 3 else None) for n in range(900)]
    of = assign(CIS, table(rows), None).of
    assert {of[row.name][0] for row in rows if row.day is None} == {"train", "val", "test"}


def test_turning_the_cis_sets_on_moves_no_place() -> None:
    rows = [file(n, str(n // 9), day=n % 9) for n in range(40)]
    plain = assign(PLACE, table(rows), None)
    assert plain.pinned  # so few places have to be moved
    inherited = CIS.model_copy(update={"val": 0.15, "test": 0.15}).inherited(PLACE, plain.pinned)
    assert inherited == plain.pinned
    assert CIS.inherited(PLACE, plain.pinned) is None and TIME.inherited(PLACE, {}) is None
    assert PLACE.inherited(CIS.model_copy(update={"val": 0.15, "test": 0.15}), {"day place 1": "train"}) == {}


def test_nothing_that_trains_or_validates_was_captured_from_the_cut_on() -> None:
    rows = [file(n, str(n % 7), event=str(n // 5), day=n // 30) for n in range(200)]
    rows += [file(500 + n, str(n), event=None, day=None) for n in range(5)]
    rows += [file(600, "1", event="0", day=None)]
    of = assign(TIME, table(rows), None).of
    assert TIME.cut == date(2026, 5, 4)
    for row in rows:
        if of[row.name][0] in ("train", "val"):
            assert row.day is None or row.day < date(2026, 5, 4)
        if row.day and row.day >= date(2026, 5, 4):
            assert of[row.name] == ("test", None)
    assert all(of["s", f"{500 + n:04d}"] == ("none", "untrusted_clock") for n in range(5))
    assert of["s", "0600"] == of["s", "0000"]  # its event has a date
    assert {"train", "val"} <= {split for split, _ in of.values()}


def test_a_cut_of_one_survey_leaves_the_others_before_it_and_a_new_survey_tests_whole() -> None:
    rows = [file(n, str(n), day=n % 6, survey=survey) for survey in ("s", "t", "u") for n in range(30)]
    rows = [replace(row, sha256=f"{row.survey}{row.key}".encode().rjust(32)) for row in rows]
    rows += [file(99, survey=survey, data=ord(survey)) for survey in ("s", "t", "u")]
    of = assign(BY_SURVEY, table(rows), None).of
    found = {survey: {of[row.name] for row in rows if row.survey == survey} for survey in "stu"}
    assert found["s"] == {("train", None), ("val", None), ("test", None), ("none", "untrusted_clock")}
    assert found["t"] == {("train", None), ("val", None)} and found["u"] == {("test", None)}


def test_the_document_says_where_no_place_is_known() -> None:
    def said(kind: str, split: Split) -> tuple[bool, float]:
        document = told(kind, split)
        return document["location_guarantee"], document["without_place"]

    placed, loose = [file(n, str(n)) for n in range(30)], [file(100 + n, None, event=str(n // 2)) for n in range(10)]
    assert said("place", assign(PLACE, table(placed), None)) == (True, 0)
    assert said("place", assign(PLACE, table(placed + loose), None)) == (False, 0.25)
    assert said("place", assign(PLACE, table(loose), None)) == (False, 1)
    assert said("time", assign(BY_SURVEY, table([replace(row, survey="t") for row in placed]), None)) == (False, 0)


@given(st.integers(0, 5), st.integers(2, 40))
def test_few_places_still_fill_val_and_then_test(seed: int, places: int) -> None:
    split = assign(PlaceSplit(kind="place", seed=seed), table([file(n, str(n)) for n in range(places)]), None)
    counts = Counter(in_splits(split).values())
    assert counts["train"] and counts["val"] and (counts["test"] or places == 2)


def test_the_shares_are_those_asked_for() -> None:
    split = assign(PLACE, table([file(n, str(n)) for n in range(4000)]), None)
    counts = Counter(in_splits(split).values())
    assert abs(counts["val"] / 4000 - 0.15) < 0.02 and abs(counts["test"] / 4000 - 0.15) < 0.02


@pytest.mark.parametrize("was", ["ear", "earer", "errerarraerr"])  # second letters of train, val and test
def test_places_are_where_version_1_of_the_split_put_them(was: str) -> None:
    rows = [file(n, f"place {n}") for n in range(len(was))]
    split = assign(PlaceSplit(kind="place", seed=4), table(rows), None)
    assert "".join(split.of[row.name][0][1] for row in rows) == was
    assert split.pinned == ({} if len(was) == 12 else {"place ca320202cbdbe3bb": "val"})


@settings(max_examples=60, deadline=None)
@given(SURVEYS, st.data())
def test_a_share_of_the_published_training_rows_validates(rows: list[File], draw: st.DataObject) -> None:
    """No event and no bytes in two splits, nothing leaves test or enters train, and more rows move no old one."""
    names = st.sampled_from(["train", "train", "test", None])
    rows = [replace(row, published=draw.draw(names)) for row in rows]
    cut = PublishedSplit(kind="published", val=0.4)
    plain, split = (assign(policy, table(rows), None) for policy in (PublishedSplit(kind="published"), cut))
    for link in (lambda row: row.sha256, event_of):
        assert all(len(found) == 1 for found in used(split, rows, link).values())
    for row in rows:
        was, now = plain.of[row.name][0], split.of[row.name][0]
        assert now in {"train": ("train", "val", "none"), "none": ("val", "none")}.get(was, (was,))
        assert now == was or row.published == "train"
    half = rows[::2]
    first_half = assign(cut, table(half), None)
    grown = as_parent(half, first_half) + rows[1::2]
    drawn = {row.name for row in half if row.published == "train"} & in_splits(first_half).keys()
    kept = in_splits(assign(cut, table(grown), {}))
    assert all(kept[name] == in_splits(first_half)[name] for name in drawn & kept.keys())


def test_the_share_that_validates_is_drawn_by_seed_and_not_by_order() -> None:
    rows = [file(n, None, published="train") for n in range(2000)] + [file(5000, None, published="val")]
    cuts = [assign(PublishedSplit(kind="published", val=0.1, seed=seed), table(rows), None) for seed in (0, 1)]
    drawn = [{name for name, found in cut.of.items() if found[0] == "val"} for cut in cuts]
    assert all(150 < len(names) < 250 and ("s", "5000") in names for names in drawn) and drawn[0] != drawn[1]
    assert assign(PublishedSplit(kind="published", val=0.1), table(rows[::-1]), None) == cuts[0]
    same = [PublishedSplit(kind="published", **changes) for changes in ({}, {"val": 0})]
    assert fingerprint({"split": same[0]}) == fingerprint({"split": same[1]})


def test_the_published_split_is_kept_and_a_copy_or_an_event_in_train_is_left_out() -> None:
    rows = [file(0, None, 7, published="train"), file(1, None, 7, published="test"), file(2, None, 8, published="val")]
    rows += [file(3, None, 9), file(4, None, 10, published="train", labelled=False)]
    rows += [file(5, None, 11, "e", published="train"), file(6, None, 12, "e", published="val")]
    split = assign(PublishedSplit(kind="published"), table(rows), None)
    assert [split.of[row.name] for row in rows] == [
        ("none", "cross_split_duplicate"),
        ("test", None),
        ("val", None),
        ("none", "no_published_split"),
        ("none", "unlabelled"),
        ("none", "cross_split_duplicate"),
        ("val", None),
    ]
    assert split.pinned == {}


def test_an_empty_train_or_val_split_is_refused_in_one_line() -> None:
    check_counts({"train": 1, "val": 1}, "place")
    with pytest.raises(DataRefused, match=r"data\.split \(place\): no image with a text in val \(train 5, val 0"):
        check_counts({"train": 5, "none": 2}, "place")


@settings(max_examples=60, deadline=None)
@given(rows_of().filter(lambda rows: len({row.place for row in rows if row.labelled} - {None}) > 2))
def test_a_place_that_is_held_out_is_all_that_tests(rows: list[File]) -> None:
    place = max(row.place for row in rows if row.place and row.labelled)
    policy = PlaceSplit(kind="place", test=0, held_out=(place,))
    split = first(policy, rows)
    tested = {row.place for row in rows if split.of[row.name][0] == "test"}
    assert tested <= {place} and split.pinned[f"place {place_hash('s', place)}"] == "test"
    assert in_splits(assign(policy, table(as_parent(rows, split)), split.pinned)) == in_splits(split)


@pytest.mark.parametrize("digits", [8, 16])
def test_a_place_is_held_out_by_its_id_as_by_its_name(digits: int) -> None:
    rows = [file(number, f"ridge {number // 3}") for number in range(18)]
    named, known = (
        PlaceSplit(kind="place", test=0, held_out=(place,))
        for place in ("ridge 3", place_hash("s", "ridge 3")[:digits])
    )
    assert assign(known, table(rows), None).of == assign(named, table(rows), None).of
    unknown = PlaceSplit(kind="place", held_out=(place_hash("s", "ridge 7")[:digits],))
    with pytest.raises(DataRefused, match="held_out: no labelled image is from"):
        assign(unknown, table(rows), None)


def test_a_place_that_no_image_is_from_cannot_be_held_out() -> None:
    policy = PlaceSplit(kind="place", held_out=("nort-ridge",))
    with pytest.raises(DataRefused, match=r"held_out: no labelled image is from 'nort-ridge'; did you mean north-r"):
        assign(policy, table([file(1, "north-ridge"), file(2, "south")]), None)


def test_units_have_the_names_they_always_had() -> None:
    rows = Rows.of(table([file(1, "ridge"), file(2, None, event="e 1"), file(3, None)]))
    names = [f"place {place_hash('s', 'ridge')}", "event s e 1", "file s 0003"]
    assert [rows.units[unit] for unit in rows.unit] == names
    assert np.array_equal(rows.loose, [False, False, True])
