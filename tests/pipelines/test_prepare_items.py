"""Items: a partition of the keys that one more file changes in one place only."""

import hashlib
from collections.abc import Iterable, Iterator
from unittest.mock import patch

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.prepare import items
from pipelines.prepare.items import item_id, sample_id
from xmodal.transforms import PixelSettings

NAMES = st.text("ab/", min_size=1, max_size=9)
KEYS = st.sets(NAMES, max_size=60)


def cut(keys: Iterable[str], most: int) -> list[list[str]]:
    """The groups as keys."""
    order = sorted(keys)
    return [[order[place] for place in group] for group in items.cut(pa.chunked_array([order], pa.string()), most)]


def cut_slowly(keys: list[str], depth: int, most: int) -> Iterator[list[str]]:
    """The rule of `items` on lists of keys, as its first version had it: ids of stored items follow from it."""
    children: dict[str, list[str]] = {}
    for key in keys:
        name, slash, _ = key[depth:].partition("/")
        children.setdefault(name + slash, []).append(key)
    if len(keys) <= most:
        yield from [keys] if keys else []
        return
    for name, inside in children.items():
        if len(inside) > most:
            yield from cut_slowly(inside, depth + len(name), most)
    yield from gather_slowly({bits(name): own for name, own in children.items() if len(own) <= most}, 0, most)


def bits(name: str) -> str:
    return f"{int.from_bytes(hashlib.sha256(name.encode()).digest()):0256b}"


def gather_slowly(children: dict[str, list[str]], position: int, most: int) -> Iterator[list[str]]:
    if sum(map(len, children.values())) <= most:
        if children:
            yield sorted(key for inside in children.values() for key in inside)
        return
    for bit in "01":
        yield from gather_slowly(
            {name: own for name, own in children.items() if name[position] == bit}, position + 1, most
        )


@given(st.sets(st.text("ab/é!0", min_size=1, max_size=9), max_size=120), st.integers(1, 20), st.integers(1, 9))
def test_items_are_those_of_the_rule_on_whole_lists(keys: set[str], most: int, block: int) -> None:
    with patch.object(items, "BLOCK", block):
        assert cut(keys, most) == list(cut_slowly(sorted(keys), 0, most))


@given(KEYS)
def test_items_hold_every_key_once_and_no_more_than_they_may(keys: set[str]) -> None:
    groups = cut(sorted(keys), most=4)
    assert sorted(key for group in groups for key in group) == sorted(keys)
    assert all(0 < len(group) <= 4 and group == sorted(group) for group in groups)


@given(KEYS)
def test_the_order_of_the_listing_does_not_matter(keys: set[str]) -> None:
    assert cut(sorted(keys), most=4) == cut(sorted(keys, reverse=True), most=4)


@given(st.sets(st.integers(0, 99_999), min_size=30, max_size=200), st.integers(100_000, 200_000))
def test_one_more_file_changes_the_item_it_falls_into_and_no_other(numbers: set[int], extra: int) -> None:
    """In one folder: its group takes it, or is halved until it fits."""
    before = {tuple(group) for group in cut([f"folder/{number}.jpg" for number in numbers], most=16)}
    after = {tuple(group) for group in cut([f"folder/{number}.jpg" for number in {*numbers, extra}], most=16)}
    assert len(before - after) == 1


def test_a_new_folder_leaves_large_folders_alone() -> None:
    old = [f"old/{place}/{n}.jpg" for place in "abc" for n in range(20)]
    new = [f"new/{n}.jpg" for n in range(20)]
    before, after = ({tuple(group) for group in cut(keys, most=16)} for keys in (old, old + new))
    assert before < after


def test_an_item_is_named_by_what_makes_its_pixels() -> None:
    files = [("a.jpg", "1", 10, "m1"), ("b.jpg", "2", 20, "m2")]
    pixels = PixelSettings()
    name = item_id("s", files, pixels)
    assert name == item_id("s", files[::-1], PixelSettings()) and len(name) == 16
    others = [
        item_id("t", files, pixels),
        item_id("s", [("a.jpg", "9", 10, "m1"), files[1]], pixels),
        item_id("s", [("a.jpg", "1", 10, "m9"), files[1]], pixels),
        item_id("s", files[:1], pixels),
        item_id("s", files, PixelSettings(size=64)),
    ]
    assert len({name, *others}) == 6


def test_sample_ids_do_not_run_into_each_other() -> None:
    assert len({sample_id("a", "bc"), sample_id("ab", "c"), sample_id("a", "b", "c")}) == 3
