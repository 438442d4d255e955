"""Privacy is on by default: what the source holds of people and places is in no stored object."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.demo.files import PLANTED_NAME
from pipelines.prepare import listing
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.units import place_hash
from tests.pipelines.health_surveys import health, recipe_of
from tests.pipelines.surveys import coco_settings, prepare, settings, write_coco
from tests.pipelines.test_prepare_flow import image


def secrets_of(archive: Store, data: DataSettings) -> set[bytes]:
    """What the source holds and no stored object may: a name, coordinates, places, people's frames."""
    survey = listing.list_survey(data, data.surveys[0])
    people = [key for key, reason in survey.rejected.items() if reason == "withheld"]
    places = {name for name in survey.known.survey.media["place"].to_pylist() if name}
    assert people and places
    return {PLANTED_NAME.encode(), *(name.encode() for name in places), *(archive.read(key)[-400:] for key in people)}


def test_no_secret_of_the_source_is_stored(archive: Store, root: Store) -> None:
    data = settings(archive.url)
    planted = secrets_of(archive, data)
    everything = b"".join(archive.read(entry.key) for entry in archive.list())
    dataset = prepare(data, root)
    stored = b"".join(root.read(entry.key) for entry in root.list())
    pixels = [dataset.read_group(item.index, 0, "pixels") for item in dataset.items]
    tables = [dataset.records(), dataset.ledger(), *pixels]
    stored += repr([table.to_pylist() for table in tables]).encode()
    keys = "".join(dataset.ledger()["key"].to_pylist()).encode()
    assert all(secret in everything for secret in planted)
    assert not [secret for secret in planted if secret in stored and secret not in keys]
    for image_bytes in (row for table in pixels for row in table["image"].to_pylist()):
        with Image.open(io.BytesIO(image_bytes)) as picture:
            assert not picture.getexif() and b"Exif" not in image_bytes


def test_people_come_in_where_privacy_lets_them(archive: Store, root: Store) -> None:
    open_house = {"people": True, "vehicles": True, "non_public": True}
    dataset = prepare(settings(archive.url, privacy=open_house), root)
    assert "rejected/withheld" not in dataset.document["surveys"][0]["counts"]
    assert any("person" in text.decode() for text in dataset.records(["captions"])["captions"].to_pylist())


def test_stored_places_are_hashes(archive: Store, root: Store) -> None:
    data = settings(archive.url)
    names = set(listing.list_survey(data, data.surveys[0]).known.survey.media["place"].to_pylist())
    places = set(prepare(data, root).records(["place"])["place"].to_pylist()) - {None}
    assert places and places <= {place_hash("tiny", name) for name in names if name}


OVERLAYS = (
    {"kind": "megadetector", "path": "md.json"},
    {"kind": "corrections", "path": "review.csv"},
)
SHOWN = {
    "human": ("0/label.jpg", "0/box.jpg", "0/second-row.jpg", "unnamed/box.jpg", "unnamed/review.jpg"),
    "vehicle": ("0/car.jpg", "0/car-box.jpg", "unnamed/car-box.jpg"),
}
"""Files whose only sign of a person or vehicle is a label or a sure box, of a medium or not."""
OPEN = ("0/unsure.jpg", "0/unsure-car.jpg", "unnamed/unsure.jpg", "unnamed/nothing.jpg")
"""Files with a box below the threshold, or nothing of the kind."""


@pytest.fixture
def shown(archive: Store) -> Store:
    """Foxes at six places, and files of every kind of sign."""
    store = archive.child("shown")
    named = [key for key in (*SHOWN["human"], *SHOWN["vehicle"], *OPEN) if not key.startswith("unnamed")]
    keys = [*(f"{place}/{n}.jpg" for place in range(6) for n in range(4)), *named]
    category = {"0/label.jpg": 2, "0/car.jpg": 3}
    rows = [
        {"id": key, "file_name": key, "location": f"place {key[0]}", "category": category.get(key, 1)} for key in keys
    ]
    rows.append({"id": "again", "file_name": "0/second-row.jpg", "category": 2})  # refused: it names a file twice
    everything = sorted({*keys, *SHOWN["human"], *SHOWN["vehicle"], *OPEN})
    files = {key: image(number) + key.encode() for number, key in enumerate(everything)}
    write_coco(store, rows, files, ("Vulpes vulpes", "human", "vehicle"))
    boxes = {"0/box.jpg": ("2", 0.5), "unnamed/box.jpg": ("2", 0.5), "0/unsure.jpg": ("2", 0.49)}
    boxes |= {"0/car-box.jpg": ("3", 0.5), "unnamed/car-box.jpg": ("3", 0.5), "0/unsure-car.jpg": ("3", 0.49)}
    boxes |= {"unnamed/unsure.jpg": ("2", 0.49)}
    entries = [
        {"file": key, "detections": [{"category": category, "conf": conf, "bbox": [0.1, 0.1, 0.5, 0.5]}]}
        for key, (category, conf) in boxes.items()
    ]
    names = {"1": "animal", "2": "person", "3": "vehicle"}
    results = {"info": {"format_version": "1.5"}, "detection_categories": names, "images": entries}
    store.put("md.json", json.dumps(results).encode())
    store.put("review.csv", b"key,type\nunnamed/review.jpg,human\n1/0.jpg,animal\n")
    return store


def laid(store: Store, **changes: Any) -> dict[str, Any]:
    """Settings of that survey."""
    survey = coco_settings(store.url).surveys[0].model_dump() | {"overlays": OVERLAYS}
    return {"surveys": [survey], "detector_threshold": 0.5} | changes


def withheld_and_stored(dataset: Dataset) -> tuple[set[str], set[str]]:
    """Keys of the files withheld by the ledger, and of those in pixel parts."""
    withheld = {row["key"] for row in dataset.ledger().to_pylist() if row["reason"] == "withheld"}
    groups = [dataset.read_group(item.index, 0, "pixels", ["key"]) for item in dataset.items]
    return withheld, {key for group in groups for key in group["key"].to_pylist()}


@pytest.mark.parametrize("let_in", [(), ("people",), ("vehicles",), ("people", "vehicles")])
def test_what_any_row_or_sure_box_shows_is_kept_out(shown: Store, root: Store, let_in: tuple[str, ...]) -> None:
    setting = {"human": "people", "vehicle": "vehicles"}
    out = {key for kind, keys in SHOWN.items() if setting[kind] not in let_in for key in keys}
    every = {*SHOWN["human"], *SHOWN["vehicle"], *OPEN}
    data = coco_settings(shown.url, **laid(shown, privacy=dict.fromkeys(let_in, True)))
    withheld, stored = withheld_and_stored(prepare(data, root))
    assert withheld == out
    assert stored & every == every - out and len(stored) == 24 + len(every) - len(out)


def test_the_health_page_counts_each_by_its_kind(shown: Store, root: Store) -> None:
    page = health(recipe_of(shown, root, **laid(shown)))
    assert {row.name: row.files for row in page.withheld.rows} == {kind: len(keys) for kind, keys in SHOWN.items()}


def test_names_that_are_no_utf8_join_as_python_writes_them(tmp_path: Path) -> None:
    """`\\udce9` stands for the byte e9 in JSON that Python's programs write, of file names and of ids made of them."""
    boxed, labelled, fox = (f"a/caf\udce9{number}.jpg" for number in range(3))
    store = open_store(str(tmp_path))
    store.put("a/0.jpg", image(9))
    for number, name in enumerate((boxed, labelled, fox)):
        (tmp_path / name).write_bytes(image(number))
    rows = [{"id": name, "file_name": name, "category": category} for name, category in ((labelled, 2), (fox, 1))]
    write_coco(store, rows, {}, ("red fox", "human"))
    entries = [{"file": boxed, "detections": [{"category": "2", "conf": 0.9, "bbox": [0.1, 0.1, 0.5, 0.5]}]},
               {"file": fox, "detections": []}]  # fmt: skip
    store.put("md.json", json.dumps({"images": entries}).encode())
    survey = coco_settings(store.url).surveys[0].model_dump() | {"overlays": OVERLAYS[:1]}
    listed = listing.list_survey(data := coco_settings(store.url, surveys=[survey]), data.surveys[0])
    assert {key for key, reason in listed.rejected.items() if reason == "withheld"} == {
        "a/caf%E90.jpg",
        "a/caf%E91.jpg",
    }
    assert listed.known.survey.media["key"].to_pylist() == ["a/caf%E91.jpg", "a/caf%E92.jpg"]
    assert listed.known.survey.media["media_id"].to_pylist() == ["a/caf%E91.jpg", "a/caf%E92.jpg"]
    assert listed.known.survey.detections["key"].to_pylist() == ["a/caf%E92.jpg"]


def test_a_refused_row_that_is_not_public_closes_its_file(archive: Store, root: Store) -> None:
    table = archive.read("media.csv").decode().splitlines(keepends=True)
    name = next(line for line in table[1:] if ",true," in line).split(",")
    again = ",".join(["again", *name[1:]]).replace(",true,", ",false,")  # a second row of a file
    lost = ",".join(name).replace(name[4], "images/place-01/COPY_0001.JPG").replace(",true,", ",false,")  # of an id
    archive.put("media.csv", "".join([*table, again, lost]).encode())
    listed = listing.list_survey(settings(archive.url), settings(archive.url).surveys[0])
    counts = listed.known.survey.refused.counts
    assert (counts["duplicate_file"], counts["duplicate_id"]) == (1, 1)
    for key in (name[4], "images/place-01/COPY_0001.JPG"):
        assert listed.rejected[key] == "withheld" and listed.closed[listed.files.position(key)] == "not_public"
    open_house = settings(archive.url, privacy={"non_public": True})
    assert name[4] not in listing.list_survey(open_house, open_house.surveys[0]).rejected
    withheld, stored = withheld_and_stored(prepare(settings(archive.url), root))
    assert {name[4], "images/place-01/COPY_0001.JPG"} <= withheld and not withheld & stored
