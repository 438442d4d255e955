"""No two images of a dataset are one sample: also where a file that nobody names has the name of another's id."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.prepare import versions
from pipelines.prepare.items import sample_id
from pipelines.prepare.leakage import leakage, told
from pipelines.prepare.ledger import check_names
from pipelines.prepare.parts import LEDGER, PIXELS, RECORDS, parquet, put_part
from pipelines.prepare.settings import DataSettings
from tests.pipelines.surveys import coco_settings, prepare, write_coco
from tests.pipelines.tables import table
from tests.pipelines.test_prepare_flow import image

NAMES = [f"{place}-{number}.jpg" for place in range(6) for number in range(4)]
LIST = "list.csv"


@pytest.fixture
def archive(tmp_path: Path) -> Store:
    """Media whose ids are their bare names, in a folder; beside it a thumbnail of one, and a file of a name of its own.
    Both are days older, and of a place that nobody knows."""
    archive = open_store(str(tmp_path / "coco"))
    images = [{"id": name, "file_name": f"images/{name}", "location": name[0], "category": 1} for name in NAMES]
    files = {f"images/{name}": image(n) + name.encode() for n, name in enumerate(NAMES)}
    write_coco(archive, images, files | {"0-0.jpg": image(77) + b"thumb", "other.jpg": image(78) + b"other"})
    return archive


def listed(archive: Store, content: str) -> DataSettings:
    """With a takedown list."""
    archive.put(LIST, content.encode())
    survey = coco_settings(archive.url).surveys[0].model_dump() | {"overlays": [{"kind": "takedown", "path": LIST}]}
    return coco_settings(archive.url, surveys=[survey])


def ids(dataset: Dataset) -> dict[str, str]:
    return {row["key"]: row["media_id"] for row in dataset.ledger(["key", "media_id"]).to_pylist()}


def withdrawn(dataset: Dataset) -> set[str]:
    return {row["key"] for row in dataset.ledger().to_pylist() if row["reason"] == "taken_down"}


def test_a_file_that_nobody_names_is_no_other_medium(archive: Store, root: Store) -> None:
    dataset = prepare(coco_settings(archive.url), root)
    rows = dataset.records(["sample_id", "media_id"])
    assert len(set(rows["sample_id"].to_pylist())) == len(rows) == len(NAMES) + 2
    assert ids(dataset)["images/0-0.jpg"] == "0-0.jpg" != ids(dataset)["0-0.jpg"]
    assert {ids(dataset)[key] for key in dataset.ledger(["key"])["key"].to_pylist()} >= set(
        rows["media_id"].to_pylist()
    )
    assert dataset.check(read_data=True) == [] and told(leakage(dataset)).startswith("0 places, 0 events, 0 files")
    assert prepare(coco_settings(archive.url), root).version == 1


def test_all_other_ids_stay_as_they_were(archive: Store, root: Store) -> None:
    dataset = prepare(coco_settings(archive.url), root)
    samples = set(dataset.records(["sample_id"])["sample_id"].to_pylist())
    assert {sample_id("coco", name) for name in [*NAMES, "other.jpg"]} < samples
    assert ids(dataset)["other.jpg"] == "other.jpg"


def test_links_of_a_medium_are_its_own(archive: Store, root: Store) -> None:
    """Of two rows of one name the leakage report would take the first: here the thumbnail's bytes for the medium's."""
    archive.put("0-0.jpg", archive.read("images/5-3.jpg"))
    dataset = prepare(coco_settings(archive.url), root)
    assert told(leakage(dataset)).startswith("0 places, 0 events, 0 files")


@pytest.mark.parametrize(
    ("content", "down"),
    [
        ("media_id\n0-0.jpg\n", {"images/0-0.jpg"}),
        ("key\n0-0.jpg\n", {"0-0.jpg"}),
        ("0-0.jpg\n", {"0-0.jpg", "images/0-0.jpg"}),
        ("media_id\nother.jpg\n", {"other.jpg"}),
    ],
)
def test_a_takedown_names_the_file_that_its_column_says(
    archive: Store, root: Store, content: str, down: set[str]
) -> None:
    assert withdrawn(prepare(listed(archive, content), root)) == down


def test_a_takedown_of_what_was_held_before_names_that_file_too(archive: Store, root: Store) -> None:
    prepare(coco_settings(archive.url), root)
    dataset = prepare(listed(archive, "media_id\n0-0.jpg\n"), root)
    assert withdrawn(dataset) == {"images/0-0.jpg"}
    assert "no_such_media" not in dataset.document["surveys"][0]["metadata_refused"]


def test_two_images_of_one_name_are_not_committed() -> None:
    columns = {"survey": ["a", "a"], "key": ["1", "2"], "media_id": ["x", "x"], "status": ["ok", "ok"]}
    with pytest.raises(AssertionError, match="1 images have another one's sample id; nothing is committed"):
        check_names({"a": table(LEDGER, columns)})
    check_names({"a": table(LEDGER, columns | {"status": ["ok", "gone"]})})
    check_names({"a": table(LEDGER, columns | {"media_id": ["x", "y"]})})


def test_check_finds_two_images_of_one_name(archive: Store, root: Store) -> None:
    dataset = prepare(coco_settings(archive.url), root)
    home, document = versions.home(root, "coco"), json.loads(json.dumps(dataset.document))
    for kind, schema in (("pixels", PIXELS), ("records", RECORDS)):
        (entry,) = document[kind]
        rows = pq.read_table(pa.BufferReader(home.read(entry["path"])), schema=schema).to_pylist()
        rows[1]["sample_id"] = rows[0]["sample_id"]
        data = parquet(pa.Table.from_pylist(rows, schema), large=("image",) if kind == "pixels" else ())
        document[kind] = [entry | put_part(home, kind, "x", data, len(rows))]
    document |= {"version": 2, "digest": versions.content_digest(document)}
    home.put(versions.path(2), json.dumps(document).encode())
    (problem,) = Dataset.open(root, "coco").check(read_data=True)
    assert problem == f"records: 1 sample ids are of several images, as {rows[0]['sample_id']}"
