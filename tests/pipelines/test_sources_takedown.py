"""Takedown lists as people send them: what they name, and the media they mark."""

from pathlib import Path

import pytest

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.sources.takedown import Takedown, read_entries
from tests.pipelines.test_sources_megadetector import survey

HASH = "Ab" * 32


@pytest.mark.parametrize(
    ("content", "entries"),
    [
        ("img/a.jpg\n\n  id-7 \r\nimg/a.jpg\n", [{"img/a.jpg"}, {"id-7"}]),
        ("img/a, b.jpg\n", [{"img/a, b.jpg"}]),
        (HASH + "\n", [{HASH.lower()}]),
        ("reason;key\nasked by mail;img/a.jpg\n", [{"img/a.jpg"}]),
        ("key,media_id,SHA-256\nimg/a.jpg,id-7,\n,,\n,," + HASH, [{"img/a.jpg", "id-7"}, {HASH.lower()}]),
        ("Key\nimg/a.jpg\n", [{"img/a.jpg"}]),
        ("", []),
    ],
)
def test_lists_and_tables(content: str, entries: list[set[str]]) -> None:
    assert list(read_entries("list", content)) == entries


def test_media_on_the_list_are_marked_and_lists_add_up(tmp_path: Path) -> None:
    below, store = survey("img/a.jpg", "img/b.jpg", "img/c.jpg"), open_store(str(tmp_path))
    store.put("first.txt", "img/a.jpg\nunnamed.jpg\n".encode("utf-16"))
    store.put("second.csv", b"\xef\xbb\xbfmedia_id\nimg/b.jpg\n")
    for path in ("first.txt", "second.csv"):
        below = Takedown(kind="takedown", path=path).read(store, below)
    assert below.media["withdrawn"].to_pylist() == [True, True, None]
    assert below.takedown == ({"img/a.jpg"}, {"unnamed.jpg"}, {"img/b.jpg"}) and below.refused.counts == {}


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("list", b"\0\1\2")
    with pytest.raises(DataRefused, match=r"list: not a text file"):
        Takedown(kind="takedown", path="list").read(store, survey("a"))
