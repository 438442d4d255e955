"""Takedown lists as people send them: what they name, and the media they mark."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.sources.schema import TakenDown
from pipelines.sources.takedown import Takedown, read_entries
from tests.pipelines.test_sources_megadetector import survey

HASH = "Ab" * 32


def of(**names: str) -> TakenDown:
    """A row of a CSV."""
    return TakenDown(**{name: frozenset([one]) for name, one in names.items()}, written=", ".join(names.values()))


def either(name: str) -> TakenDown:
    """A line of a text."""
    return TakenDown(frozenset([name]), frozenset([name]), written=name)


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        ("img/a.jpg\n\n  id-7 \r\nimg/a.jpg\n", [either("img/a.jpg"), either("id-7")]),
        (".\\img\\a.jpg\n", [replace(either(".\\img\\a.jpg"), keys=frozenset([".\\img\\a.jpg", "img/a.jpg"]))]),
        ("img/a, b.jpg\n", [either("img/a, b.jpg")]),
        (HASH + "\n", [replace(either(HASH), hashes=frozenset([HASH.lower()]))]),
        ("reason;key\nasked by mail;img/a.jpg\n", [of(keys="img/a.jpg")]),
        (
            "key,media_id,SHA-256\nimg/a.jpg,id-7,\n,,\n,," + HASH,
            [of(keys="img/a.jpg", media_ids="id-7"), replace(of(hashes=HASH.lower()), written=HASH)],
        ),
        ("Key\nimg/a.jpg\n", [of(keys="img/a.jpg")]),
        ("", []),
    ],
)
def test_lists_and_tables(content: str, entries: list[TakenDown]) -> None:
    assert list(read_entries("list", content)) == entries


def test_media_on_the_list_are_marked_and_lists_add_up(tmp_path: Path) -> None:
    below, store = survey("img/a.jpg", "img/b.jpg", "img/c.jpg"), open_store(str(tmp_path))
    store.put("first.txt", "img/a.jpg\nunnamed.jpg\n".encode("utf-16"))
    store.put("second.csv", b"\xef\xbb\xbfmedia_id\nimg/b.jpg\n")
    for path in ("first.txt", "second.csv"):
        below = Takedown(kind="takedown", path=path).read(store, below)
    assert below.media["withdrawn"].to_pylist() == [True, True, None]
    assert below.takedown == (either("img/a.jpg"), either("unnamed.jpg"), of(media_ids="img/b.jpg"))
    assert below.refused.counts == {}


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("list", b"\0\1\2")
    with pytest.raises(DataRefused, match=r"list: not a text file"):
        Takedown(kind="takedown", path="list").read(store, survey("a"))
