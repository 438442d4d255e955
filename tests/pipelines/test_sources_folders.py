"""Folders as labels, places and splits; names that only the user can tell; bare folders; a whole prepare of one."""

import io
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from infra.storage import Entry, LocalStore, Store, open_store
from pipelines.errors import DataRefused
from pipelines.prepare.settings import DataSettings
from pipelines.sources import Captioned, Folders
from pipelines.sources.schema import Survey
from tests.pipelines.surveys import prepare
from xmodal.settings import parse


def write(folder: Path, *keys: str) -> Store:
    store = open_store(str(folder))
    for key in keys:
        store.put(key, b"x")
    return store


def read(store: Store, **settings: Any) -> Survey:
    return Folders(kind="folders", **settings).read(store)


def jpeg(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (number * 9, 99, 200 - number * 9)).save(stream, "JPEG")
    return stream.getvalue()


def media(survey: Survey) -> dict[str, tuple[str | None, str | None]]:
    return {row["key"]: (row["place"], row["split"]) for row in survey.media.to_pylist()}


def labels(survey: Survey) -> dict[str, str]:
    return {row["media_id"]: row["label"] for row in survey.observations.to_pylist()}


@pytest.mark.parametrize(
    ("label", "names", "expected"),
    [
        ("Vulpes vulpes", "scientific", ("animal", "Vulpes vulpes", "species", None)),
        ("Vulpes_vulpes", "scientific", ("animal", "Vulpes vulpes", "species", None)),
        ("Canis lupus familiaris", "scientific", ("animal", "Canis lupus familiaris", "subspecies", None)),
        ("Canis_sp.", "scientific", ("animal", "Canis", "genus", None)),
        ("Canis", "scientific", ("animal", "Canis", "genus", None)),
        ("Red fox", "common", ("animal", None, None, {"eng": "Red fox"})),
        ("Impala", "common", ("animal", None, None, {"eng": "Impala"})),
        ("Felidae", None, ("animal", "Felidae", "family", None)),
        ("Aves", None, ("animal", "Aves", "class", None)),
        ("red_fox", None, ("animal", None, None, {"eng": "red fox"})),
        ("red_fox", "scientific", ("animal", None, None, {"eng": "red fox"})),
        ("Red_Fox", None, ("animal", None, None, {"eng": "Red Fox"})),
        ("white-tailed deer", None, ("animal", None, None, {"eng": "white-tailed deer"})),
        ("animal", None, ("animal", None, None, None)),
        ("Empty", None, ("blank", None, None, None)),
        ("human", None, ("human", None, None, None)),
        ("Homo_sapiens", None, ("human", None, None, None)),
        ("vehicle", None, ("vehicle", None, None, None)),
        ("unknown", None, ("unknown", None, None, None)),
        ("Personas_a_pie", None, ("human", None, None, None)),
        ("Homo", None, ("human", None, None, None)),
        ("pickup truck", None, ("vehicle", None, None, None)),
        ("Vulpes vulpes (Linnaeus, 1758)", "scientific", ("animal", "Vulpes vulpes", "species", None)),
    ],
)
def test_a_folder_is_a_type_a_taxon_or_a_common_name(tmp_path: Path, label: str, names: Any, expected: Any) -> None:
    survey = read(write(tmp_path, f"{label}/1.jpg"), names=names)
    fact = survey.observations.to_pylist()[0]
    stated = json.loads(fact["names"]) if fact["names"] else None
    assert (fact["type"], fact["taxon"], fact["rank"], stated) == expected
    assert (fact["label"], fact["level"]) == (label, "media")
    assert survey.media.select(["media_id", "key", "place", "event_id", "split"]).to_pylist() == [
        {"media_id": f"{label}/1.jpg", "key": f"{label}/1.jpg", "place": None, "event_id": None, "split": None}
    ]
    assert survey.refused.counts == {}


@pytest.mark.parametrize("label", ["Vulpes vulpes", "Red fox", "Impala", "Canis"])
def test_a_label_that_could_be_either_asks_the_user(tmp_path: Path, label: str) -> None:
    with pytest.raises(DataRefused, match=f"folder '{label}' may be a scientific or a common name; set `names`"):
        read(write(tmp_path, "red_deer/1.jpg", f"{label}/1.jpg"))


def test_common_names_may_be_of_any_language(tmp_path: Path) -> None:
    survey = read(write(tmp_path, "zorro rojo/1.jpg"), language="spa")
    assert survey.observations["names"].to_pylist() == ['{"spa": "zorro rojo"}']


def test_levels_count_from_the_top_or_from_the_file(tmp_path: Path) -> None:
    store = write(tmp_path, "pics/train/ridge/red_fox/a/1.jpg", "pics/Valid/creek/badger/2.jpg", "other/wolf/3.jpg")
    survey = read(store, images_prefix="pics", label_level=2, place_level=1, split_level=0)
    assert media(survey) == {
        "pics/train/ridge/red_fox/a/1.jpg": ("ridge", "train"),
        "pics/Valid/creek/badger/2.jpg": ("creek", "val"),
    }
    assert sorted(labels(survey).values()) == ["badger", "red_fox"]
    assert sorted(labels(read(store, images_prefix="pics")).values()) == ["a", "badger"]


def test_files_that_lie_too_high_are_kept_and_counted(tmp_path: Path) -> None:
    survey = read(write(tmp_path, "1.jpg", "odd/fox/2.jpg"), label_level=1, place_level=-2, split_level=0)
    assert media(survey) == {"1.jpg": (None, None), "odd/fox/2.jpg": ("odd", None)}
    assert labels(survey) == {"odd/fox/2.jpg": "fox"}
    assert survey.refused.counts == {"no_label": 1, "no_place": 1, "no_split": 2}


class Odd(LocalStore):
    """A store with keys that no folder can have."""

    def stream(self, prefix: str = "") -> Iterator[Entry]:
        keys = ("fox//1.jpg", "/2.jpg", " /3.jpg", "___/4.jpg", "fox/5.jpg")
        yield from (Entry(key, 1, "e", datetime.now(UTC)) for key in keys)


def test_a_folder_without_a_name_is_no_label_and_no_place(tmp_path: Path) -> None:
    survey = read(Odd(str(tmp_path)), place_level=-1)
    assert survey.media.num_rows == 5 and labels(survey) == {"fox/5.jpg": "fox"}
    assert survey.refused.counts == {"no_label": 4, "no_place": 4}


def test_words_that_only_the_archive_knows(tmp_path: Path) -> None:
    store = write(tmp_path, "Mtu Mzima/1.jpg", "kati/2.jpg", "man-eater/3.jpg")
    rows = read(store, types={"mtu_mzima": "human", "kati": "blank", "man-eater": "animal"}).observations.to_pylist()
    assert {row["label"]: (row["type"], row["names"]) for row in rows} == {
        "Mtu Mzima": ("human", None),
        "kati": ("blank", None),
        "man-eater": ("animal", '{"eng": "man-eater"}'),
    }


def test_a_bare_folder_has_media_and_no_observations(tmp_path: Path) -> None:
    survey = read(write(tmp_path, "1.JPG", "Vulpes vulpes/2.png"), labels="none")
    assert (survey.media.num_rows, survey.observations.num_rows) == (2, 0)
    assert survey.refused.counts == {}


def test_only_images_are_media_and_spreadsheet_errors_are_no_labels(tmp_path: Path) -> None:
    survey = read(write(tmp_path, "fox/1.jpg", "fox/Thumbs.db", "fox/notes.txt", "#REF!/2.jpg"))
    assert sorted(media(survey)) == ["#REF!/2.jpg", "fox/1.jpg"]
    assert labels(survey) == {"fox/1.jpg": "fox"}
    assert survey.refused.counts == {"bad_label": 1}
    with pytest.raises(DataRefused, match="no file in this folder is an image"):
        read(open_store(str(tmp_path)), images_prefix="nowhere")


def test_tars_are_folders_of_their_name(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "red_fox.tar", "w") as tar:
        for name in ("1.jpg", "cubs/2.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    survey = read(open_store(str(tmp_path)), label_level=0)
    assert labels(survey) == {"red_fox.tar!/1.jpg": "red_fox", "red_fox.tar!/cubs/2.jpg": "red_fox"}


def test_folders_become_a_dataset_split_by_their_places(tmp_path: Path, root: Store) -> None:
    store = open_store(str(tmp_path / "archive"))
    for number in range(12):
        store.put(f"place{number % 6}/{('red_fox', 'empty')[number % 2]}/{number}.jpg", jpeg(number))
    store.put("place0/human/13.jpg", jpeg(13))
    source = {"kind": "folders", "place_level": 0}
    survey = {"name": "mine", "archive": str(tmp_path / "archive"), "source": source}
    data = parse(DataSettings, {"name": "mine", "surveys": [survey], "pixels": {"size": 16, "min_side": 4}})
    dataset = prepare(data, root)
    assert dataset.document["surveys"][0]["counts"] == {"ok": 12, "rejected/withheld": 1}
    assert dataset.document["surveys"][0]["source"] == "folders"


def test_names_of_any_classes_are_captions_and_no_word_of_camera_traps(tmp_path: Path) -> None:
    survey = read(write(tmp_path, "truck/1.jpg", "Canis lupus/2.jpg", "fire_engine/3.jpg"), captions="a {label}, small")
    rows = {row["label"]: row for row in survey.observations.to_pylist()}
    assert {row["type"] for row in rows.values()} == {"unclassified"}
    assert {row["taxon"] for row in rows.values()} == {row["names"] for row in rows.values()} == {None}
    assert {label: row["caption"] for label, row in rows.items()} == {
        "truck": "a truck, small", "Canis lupus": "a Canis lupus, small", "fire_engine": "a fire engine, small"
    }  # fmt: skip
    with pytest.raises(ValidationError, match=r"has no \{label\} in it, so all classes would have one text"):
        read(open_store(str(tmp_path)), captions="a photo")


def test_captions_are_in_the_language_of_the_folders(tmp_path: Path, root: Store) -> None:
    store = open_store(str(tmp_path / "archive"))
    for number in range(12):
        store.put(f"place{number % 6}/fuchs/{number}.jpg", jpeg(number))
    stored: dict[str, tuple[str, set[str]]] = {}
    for language in ("deu", "eng"):
        source = {"kind": "folders", "place_level": 0, "captions": "ein Foto: {label}", "language": language}
        survey = {"name": "mine", "archive": str(tmp_path / "archive"), "source": source}
        data = parse(DataSettings, {"name": "mine", "surveys": [survey], "pixels": {"size": 16, "min_side": 4}})
        dataset = prepare(data, root)
        written = {row["captions"].decode() for row in dataset.records(["captions"]).to_pylist()}
        stored[language] = (dataset.document["records"][0]["records_id"], written)
    assert stored["deu"][1] == {'[{"text": "ein Foto: fuchs", "language": "deu", "codes": null}]'}
    assert stored["eng"][1] == {'[{"text": "ein Foto: fuchs", "language": "eng", "codes": null}]'}
    assert stored["deu"][0] != stored["eng"][0]


@pytest.mark.data
def test_the_real_tars_of_a_classification_set(data_dir: Path) -> None:
    survey = read(open_store(str(data_dir / "cifar10")), split_level=0, label_level=1, captions="a photo: {label}")
    splits = survey.media["split"].to_pylist()
    assert (splits.count("train"), splits.count("test"), survey.observations.num_rows) == (10_000, 2_000, 12_000)
    assert len(set(survey.observations["label"].to_pylist())) == 10
    assert len(set(survey.observations["caption"].to_pylist())) == 10
    assert survey.refused.counts == {}


class Backwards(LocalStore):
    """A store that lists in an order of its own."""

    def stream(self, prefix: str = "") -> Iterator[Entry]:
        yield from sorted(super().stream(prefix), key=lambda entry: entry.key, reverse=True)


@pytest.mark.parametrize("source", ["folders", "captioned"])
def test_the_order_of_a_listing_changes_nothing(tmp_path: Path, source: str) -> None:
    store = write(tmp_path, "felis/a.jpg", "felis/b.jpg", "canis/a.jpg", "mus/x/c.jpg", "d.jpg")
    store.put("captions.txt", b"".join(f"{name}.jpg#0\ta text\n".encode() for name in "abcd"))
    reader = {
        "folders": Folders(kind="folders", names="scientific"),
        "captioned": Captioned(kind="captioned", captions="captions.txt"),
    }[source]
    one, other = (reader.read(opened) for opened in (store, Backwards(str(tmp_path))))
    assert one.media.to_pylist() == other.media.to_pylist() and one.media["key"].to_pylist()[0] == "canis/a.jpg"
    assert one.observations.to_pylist() == other.observations.to_pylist()
    assert one.refused.counts == other.refused.counts
