"""The commit: one writer a number, and an answer that was lost on the way is read back."""

import json
from typing import Any

import pytest

from infra.storage import Store, open_store
from pipelines.errors import Failed, NotFound
from pipelines.prepare import versions
from tests.wire import Wire

CONTENT: dict[str, Any] = {
    "dataset": "d", "pixels": [], "records": [], "ledger": [], "vocabularies": [], "features": []
}  # fmt: skip


@pytest.fixture
def wire(s3, bucket_url: str):
    with Wire(s3.endpoint) as wire:
        yield wire


@pytest.fixture
def home(wire: Wire, bucket_url: str) -> Store:
    store = open_store(bucket_url, endpoint=wire.endpoint)
    store.put("warm", b"1")
    return store


def put(home: Store) -> str:
    """How the request that writes version 1 begins."""
    return f"PUT /{home.url.removeprefix('s3://')}/versions/00000001.json"


def test_a_number_is_taken_once_and_read_back(tmp_path) -> None:
    home = open_store(str(tmp_path))
    first = versions.commit(home, CONTENT, 1, None, 1)
    with pytest.raises(Failed, match="version 1 could not be created or was made by another run; run again"):
        versions.commit(home, CONTENT | {"dataset": "other"}, 1, None, 2)
    assert versions.live(home) == [first] and versions.entries(first) == []


@pytest.mark.services
@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_whose_answer_was_lost_is_one(wire: Wire, home: Store, times: int) -> None:
    """The client repeats it once, and meets its own success."""
    wire.cut(put(home), "answer lost", times)
    document = versions.commit(home, CONTENT, 1, None, 1)
    assert wire.cuts == times and versions.live(home) == [document]


@pytest.mark.services
def test_a_commit_that_never_arrived_is_none(wire: Wire, home: Store) -> None:
    wire.cut(put(home), "request lost", 9)
    with pytest.raises(Failed, match=r"version 1 could not be created.*run again"):
        versions.commit(home, CONTENT, 1, None, 1)
    assert wire.cuts and versions.numbers(home) == []
    wire.cut("", "request lost", 0)
    assert versions.commit(home, CONTENT, 1, None, 1)["version"] == 1


@pytest.mark.services
@pytest.mark.parametrize("times", [1, 2])
def test_a_version_is_retired_where_the_answer_was_lost(wire: Wire, home: Store, times: int) -> None:
    document = versions.commit(home, CONTENT, 1, None, 1)
    wire.cut(put(home), "answer lost", times)
    versions.retire(home, document, "it is old", 2)
    assert wire.cuts == times and versions.live(home) == []


def test_a_retired_version_says_so_and_keeps_its_number(tmp_path) -> None:
    home = open_store(str(tmp_path))
    document = versions.commit(home, CONTENT, 1, None, 1)
    versions.retire(home, document, "it is old", 2)
    with pytest.raises(NotFound, match="version 1 was retired: it is old; use the newest"):
        versions.read(home, 1)
    assert versions.numbers(home) == [1] and versions.latest(home) is None
    with pytest.raises(Failed):
        versions.commit(home, CONTENT, 1, None, 3)
    tombstone = json.loads(home.read("versions/00000001.json"))
    assert tombstone["digest"] == document["digest"] and tombstone["fence"] == 2


def test_a_version_of_another_format_is_refused(tmp_path) -> None:
    home = open_store(str(tmp_path))
    home.put("versions/00000001.json", b'{"format": "xmodal-dataset-9"}')
    told = "version 1 is of format xmodal-dataset-9, this release reads xmodal-dataset-1; take a newer xmodal$"
    with pytest.raises(Failed, match=told):
        versions.live(home)
    for read in (lambda: versions.read(home, 1), lambda: versions.latest(home)):
        with pytest.raises(NotFound, match=told):
            read()
