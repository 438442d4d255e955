"""iNaturalist 2018: splits from the files, names from the un-obfuscated list, licences, and what is no animal."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.sources import INaturalist
from pipelines.sources.schema import Survey

HIDDEN = [
    {"id": number, "name": str(number), "supercategory": "x", "kingdom": "k3", "genus": "g9"} for number in (0, 1)
]
FOX = {"kingdom": "Animalia", "phylum": "Chordata", "class": "Mammalia", "order": "Carnivora", "family": "Canidae",
       "genus": "Vulpes"}  # fmt: skip
NAMED = [
    {"id": 0, "name": "Vulpes vulpes", "supercategory": "Mammalia", **FOX},
    {"id": 1, "name": "Bellis perennis", "supercategory": "Plantae", "kingdom": "Plantae", "genus": "Bellis"},
]
LICENCES = [
    {"id": 3, "name": "Attribution-NonCommercial License", "url": "http://creativecommons.org/licenses/by-nc/4.0/"}
]


def image(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"train_val2018/Mammalia/0/{number}.jpg", "license": 3, "rights_holder": "A B",
            "width": 800, "height": 600, **fields}  # fmt: skip


def label(image_id: int, category: int) -> dict[str, int]:
    return {"id": image_id, "image_id": image_id, "category_id": category}


def write(folder: Path, train: list[Any], labels: list[Any], categories: list[Any] = HIDDEN) -> None:
    whole = {"licenses": LICENCES, "categories": categories}
    val = [image(7, file_name="train_val2018/Mammalia/0/v.jpg")]
    documents = {
        "train2018": {"images": train, "annotations": labels, **whole},
        "val2018": {"images": val, "annotations": [label(7, 0)], **whole},
        "test2018": {"images": [image(7, file_name="test2018/t.jpg")], "licenses": LICENCES},
        "categories": NAMED,
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))


def read(folder: Path, **settings: Any) -> Survey:
    given = {"train": "train2018.json", "val": "val2018.json", "categories": "categories.json", **settings}
    return INaturalist(kind="inaturalist", **given).read(open_store(str(folder)))


def test_fields_are_taken_as_they_stand(tmp_path: Path) -> None:
    write(tmp_path, [image(1)], [label(1, 0)])
    survey = read(tmp_path, test="test2018.json", images_prefix="pics")
    assert [(row["media_id"], row["key"], row["split"]) for row in survey.media.to_pylist()] == [
        ("train-1", "pics/train_val2018/Mammalia/0/1.jpg", "train"),
        ("val-7", "pics/train_val2018/Mammalia/0/v.jpg", "val"),
        ("test-7", "pics/test2018/t.jpg", "test"),
    ]
    medium, fact = survey.media.to_pylist()[0], survey.observations.to_pylist()[0]
    assert (medium["licence"], medium["rights_holder"]) == ("Attribution-NonCommercial License", "A B")
    assert (medium["place"], medium["event_id"], medium["captured_at"]) == (None, None, None)
    assert (fact["type"], fact["taxon"], fact["rank"]) == ("animal", "Vulpes vulpes", "species")
    assert (json.loads(fact["lineage"]), fact["names"]) == (FOX, None)
    assert survey.observations["media_id"].to_pylist() == ["train-1", "val-7"]
    assert survey.refused.counts == {}


def test_obfuscated_names_are_refused_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, [image(1)], [label(1, 0)])
    with pytest.raises(DataRefused, match=r"train2018\.json: its category names are obfuscated, e\.g\. '0'; set `cat"):
        read(tmp_path, categories=None)
    write(tmp_path, [image(1)], [label(1, 0)], NAMED)
    assert read(tmp_path, categories=None).observations.num_rows == 2


def test_names_from_a_csv_bring_common_names(tmp_path: Path) -> None:
    write(tmp_path, [image(1)], [label(1, 0)])
    rows = "0,Vulpes vulpes,Animalia,Vulpes,Red Fox\n1,Salix ×fragilis,Plantae,,\n"
    (tmp_path / "names.csv").write_text("category_id,name,kingdom,genus,common_name\n" + rows)
    fact = read(tmp_path, categories="names.csv").observations.to_pylist()[0]
    assert json.loads(fact["names"]) == {"eng": "Red Fox"}
    assert json.loads(fact["lineage"]) == {"kingdom": "Animalia", "genus": "Vulpes"}
    (tmp_path / "names.csv").write_text("category_id,title\n0,Vulpes vulpes\n")
    with pytest.raises(DataRefused, match="lacks the column 'name'"):
        read(tmp_path, categories="names.csv")


def test_what_is_no_animal_keeps_its_name_and_is_counted(tmp_path: Path) -> None:
    write(tmp_path, [image(1)], [label(1, 1)])
    survey = read(tmp_path)
    fact = survey.observations.to_pylist()[0]
    assert (fact["type"], fact["taxon"], fact["label"]) == ("unknown", "Bellis perennis", "Bellis perennis")
    assert survey.refused.counts == {"not_an_animal": 1}


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    images = [image(1), image(1, file_name="b.jpg"), image(2, file_name="../c.jpg"), {**image(1), "id": 3},
              image(4, id=None), "x"]  # fmt: skip
    write(tmp_path, images, [label(1, 0), label(2, 0), label(9, 0), label(1, 99), None])
    survey = read(tmp_path)
    assert survey.media["media_id"].to_pylist() == ["train-1", "val-7"]
    assert survey.observations.num_rows == 2
    assert survey.refused.counts == {
        "duplicate_id": 1, "parent_path": 1, "duplicate_file": 1, "no_id": 1, "bad_row": 2,
        "annotation_of_refused_image": 1, "unknown_image": 1, "unknown_category": 1,
    }  # fmt: skip


@pytest.mark.data
def test_the_real_names(data_dir: Path, tmp_path: Path) -> None:
    write(tmp_path, [image(number) for number in range(8142)], [label(number, number) for number in range(8142)])
    names = data_dir / "inaturalist2018" / "categories.csv"
    (tmp_path / "categories.csv").write_bytes(names.read_bytes())
    facts = read(tmp_path, categories="categories.csv").observations.to_pylist()[:8142]
    assert len({row["taxon"] for row in facts}) == 8142
    assert [row["label"] for row in facts if row["rank"] != "species"] == ["Salix ×fragilis"]
    assert sum(row["type"] == "animal" for row in facts) == 4874
    assert sum(row["names"] is None for row in facts) == 2
