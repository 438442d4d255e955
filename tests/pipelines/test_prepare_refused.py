"""A dry run names a few of the rows that are not taken as written, and says nothing that such a row holds."""

from functools import partial
from pathlib import Path

import pytest

from infra.storage import Store, open_store
from pipelines.demo.survey import DETECTOR_KEY
from pipelines.prepare import verb
from pipelines.recipe import load_recipe
from pipelines.sources.schema import Refused
from tests.pipelines.plants import found, leaks, plant
from tests.pipelines.road import write_recipe
from tests.pipelines.surveys import prepare, settings, write_survey

TIME = "told by Ulrike Qvistgaard at 44.8271828"


@pytest.fixture
def archive(tmp_path: Path) -> Store:
    """The tiny survey with all that is planted in it, and a time that is none."""
    store = open_store(str(tmp_path / "archive"))
    write_survey(store)
    plant(store)
    media = store.read("media.csv").decode().splitlines()
    cells = media[1].split(",")
    cells[media[0].split(",").index("timestamp")] = TIME
    store.put("media.csv", "\n".join([media[0], ",".join(cells), *media[2:]]).encode())
    return store


def test_rows_are_named_and_not_quoted(archive: Store, tmp_path: Path, root: Store) -> None:
    recipe = load_recipe((str(write_recipe(tmp_path / "tiny.yaml", archive.url, root.url)),))
    lines = [line for line in verb.dry(recipe) if "not taken as written" in line]
    rows, media_id = archive.read("deployments.csv").count(b"\n"), archive.read("media.csv").decode().split("\n")[1]
    assert f"tiny: metadata rows not taken as written: ragged_row 1, as deployments.csv row {rows}" in lines
    (time,) = [line for line in lines if "unreadable_time" in line]
    assert time.endswith(f"unreadable_time 1, as {media_id.split(',')[0]} (aaaa aa aaaaaa aaaaaaaaaa aa 99.9999999)")
    assert not found("\n".join(verb.dry(recipe))) and archive.head(DETECTOR_KEY)


def test_nothing_of_a_refused_row_is_in_a_version(archive: Store, root: Store) -> None:
    dataset = prepare(settings(archive.url), root)
    assert dataset.document["surveys"][0]["metadata_refused"]["ragged_row"] == 1
    assert not leaks((entry.key, partial(root.read, entry.key)) for entry in root.list())


def test_what_a_row_says_is_not_shown() -> None:
    refused = Refused()
    for example in ("m1: Jane Doe", "line 7: '51.2, 4.1'", "images[3]: {'who': 'Jane'}", "1/a.jpg"):
        refused.add("bad", example)
    assert refused.shown("bad") == ["m1", "line 7", "images[3]", "1/a.jpg"] and refused.shown("good") == []


@pytest.mark.parametrize(
    "path", ["C:\\Users\\jane\\a.jpg", "/home/jane/a.jpg", "https://jane.example/a.jpg", "~jane/a"]
)
def test_a_path_of_another_machine_is_not_shown(path: str) -> None:
    refused = Refused()
    refused.add("video", path)
    assert refused.shown("video") == ["a path outside the archive"]
