"""Tables collected row by row: packed in between, the same whatever the chunk, and without half characters."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.storage import Store, open_store
from pipelines.errors import DataRefused
from pipelines.sources import rows
from pipelines.sources.camtrap_dp import CamtrapDP
from pipelines.sources.captioned import Captioned
from pipelines.sources.coco_camera_traps import CocoCameraTraps
from pipelines.sources.megadetector import MegaDetector
from pipelines.sources.reading import BadPath, archive_key
from pipelines.sources.rows import Rows
from pipelines.sources.schema import Refused, Survey
from tests.pipelines.test_prepare_odd_files import write_package

SCHEMA = pa.schema([("name", pa.string()), ("box", pa.list_(pa.float32(), 2)), ("count", pa.int32())])


@settings(deadline=None)
@given(
    st.lists(st.fixed_dictionaries({}, optional={"name": st.text(), "count": st.integers(0, 99)})), st.integers(1, 5)
)
def test_rows_are_those_added_whatever_the_chunk(added: list[dict[str, Any]], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "CHUNK", chunk)
        made = Rows(SCHEMA)
        for row in added:
            made.add(**row)
        assert len(made) == len(added)
        expected = [{"name": None, "box": None, "count": None} | row for row in added]
        assert made.table().to_pylist() == made.table().to_pylist() == expected
        made.add(box=[1.0, 2.0])
        assert made.table().to_pylist() == [*expected, {"name": None, "box": [1.0, 2.0], "count": None}]


def test_a_column_that_the_schema_lacks_is_an_error() -> None:
    with pytest.raises(TypeError, match="no such column: nmae"):
        Rows(SCHEMA).add(nmae="x")


TEXTS = pa.schema([("name", pa.string()), ("classes", pa.list_(pa.string())), ("count", pa.int32())])


def test_half_a_surrogate_pair_is_mended_and_its_row_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", 2)
    refused = Refused()
    made = Rows(TEXTS, refused)
    fox, cut = "\U0001f98a", "\ud83e"
    made.add(name=fox, classes=(fox,), count=1)
    made.add(name=f"a{cut}", classes=[cut, f"{cut}b{cut}"], count=2)
    made.add(name="\udce9", count=3)
    assert made.table().to_pylist() == [
        {"name": fox, "classes": [fox], "count": 1},
        {"name": "a\ufffd", "classes": ["\ufffd", "\ufffdb\ufffd"], "count": 2},
        {"name": "\ufffd", "classes": None, "count": 3},
    ]
    assert refused.counts == {"broken_character": 2}
    assert refused.shown("broken_character") == ["name a\ufffd", "name \ufffd"]


def written(folder: Path, name: str, document: object) -> Store:
    store = open_store(str(folder))
    store.put(name, json.dumps(document).encode())
    return store


def coco(folder: Path, *images: dict[str, Any], category: str = "fox") -> Survey:
    document = {
        "images": [{"file_name": f"{number}.jpg"} | image for number, image in enumerate(images)],
        "categories": [{"id": 1, "name": category}],
        "annotations": [{"id": image["id"], "image_id": image["id"], "category_id": 1} for image in images],
    }
    store = written(folder, "m.json", document)
    return CocoCameraTraps(kind="coco_camera_traps", metadata="m.json").read(store)


@pytest.mark.parametrize("field", ["location", "seq_id", "rights_holder", "license"])
def test_a_broken_text_of_an_image(tmp_path: Path, field: str) -> None:
    survey = coco(tmp_path, {"id": "1", field: "x\ud83e"}, {"id": "2"})
    assert survey.refused.counts == {"broken_character": 1} and "x\ufffd" in survey.media.to_pylist()[0].values()


def test_a_broken_id_or_category_joins_as_before(tmp_path: Path) -> None:
    survey = coco(tmp_path, {"id": "x\ud83e"}, {"id": "2"}, category="fox\ud83d")
    assert survey.media["media_id"].to_pylist() == survey.observations["media_id"].to_pylist() == ["x\ufffd", "2"]
    assert survey.observations["label"].to_pylist() == ["fox\ufffd"] * 2
    assert survey.refused.counts == {"broken_character": 3}


def test_ids_that_differ_in_their_broken_halves_alone_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"m\.json: ids of images that differ in nothing but broken characters"):
        coco(tmp_path, {"id": "x\ud83e"}, {"id": "x\ud83d"})


def test_broken_captions_classes_and_vernacular_names(tmp_path: Path) -> None:
    captions = [{"filename": "a.jpg", "split": "train", "sentences": [{"raw": "nice \ud83d"}]}]
    store = written(tmp_path / "k", "k.json", {"images": captions})
    store.put("a.jpg", b"")
    survey = Captioned(kind="captioned", captions="k.json").read(store)
    assert survey.observations["caption"].to_pylist() == ["nice \ufffd"]
    assert survey.refused.counts == {"broken_character": 1}

    box = {"category": "1", "conf": 0.9, "bbox": [0, 0, 1, 1], "classifications": [["0", 0.9]]}
    results = {"detection_categories": {"1": "x\ud83d"}, "classification_categories": {"0": "fox\ud83d"}}
    store = written(tmp_path, "md.json", results | {"images": [{"file": "0.jpg", "detections": [box]}]})
    survey = MegaDetector(kind="megadetector", path="md.json", names="common").read(store, coco(tmp_path, {"id": "1"}))
    assert survey.detections["classes"].to_pylist() == [["x\ufffd"]]
    assert survey.refused.counts == {"broken_character": 1}

    package = open_store(str(tmp_path / "package"))
    write_package(package, {"m": "own.jpg"})
    taxa = [{"scientificName": "Vulpes vulpes", "vernacularNames": {"eng": "fox\ud83d"}}]
    document = json.loads(package.read("datapackage.json")) | {"taxonomic": taxa}
    package.put("datapackage.json", json.dumps(document).encode())
    survey = CamtrapDP(kind="camtrap_dp").read(package)
    assert survey.observations["names"].to_pylist() == ['{"eng": "fox\ufffd"}']
    assert survey.refused.counts == {"broken_character": 1}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a/caf\udce9.jpg", "a/caf%E9.jpg"),
        ("100%/caf\udce9%.jpg", "100%/caf%E9%25.jpg"),  # each part is a name of its own
        ("caf\udcc3\udca9.jpg", "café.jpg"),  # as Python writes it where a locale knows ASCII alone
        ("café%.jpg", "café%.jpg"),
    ],
)
def test_bytes_that_are_no_utf8_are_spelled_as_a_local_store_has_them(path: str, key: str) -> None:
    assert archive_key(path, "below") == f"below/{key}"


@pytest.mark.parametrize("path", ["a\ud800.jpg", "a\udc2f.jpg", "\udce9\ud83d.jpg"])
def test_other_halves_of_surrogate_pairs_are_no_names(path: str) -> None:
    with pytest.raises(BadPath, match="bad_path"):
        archive_key(path)
