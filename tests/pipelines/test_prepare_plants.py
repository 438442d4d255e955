"""Names and positions that people write into archives of other formats than the generated one: none comes out again."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.storage import Store, open_store
from tests.pipelines.plants import LATITUDE, LONGITUDE, found, leaks, marked, readable
from tests.pipelines.road import write_recipe, xmodal
from tests.pipelines.surveys import write_coco
from tests.pipelines.test_prepare_flow import image
from tests.pipelines.test_sources_wildlife_insights import PUMA
from tests.pipelines.test_sources_wildlife_insights import image as row
from tests.pipelines.test_sources_wildlife_insights import write as write_bundle

KEYS = [f"{place}/{n}.jpg" for place in range(6) for n in range(4)]
CORRECTIONS = """file_path,type,scientific_name,note,reviewer
0/0.jpg,animal,Lynx lynx,seen by Ursula Qvistgaard,Viggo Qvistgaard
no-such.jpg,animal,Lynx lynx,,Viggo Qvistgaard
0/1.jpg,nonsense,,told by Wendelin Qvistgaard,
"""
TAKEDOWN = "file_path,reason\n1/0.jpg,asked for by Xaver Qvistgaard\n"


def coco(store: Store) -> list[dict[str, Any]]:
    """Every place that the format and its writers have for a name; returns the recipe's survey."""
    told = {"photographer": "Ada Qvistgaard", "gps": [float(LATITUDE), float(LONGITUDE)], "corrupt": False}
    images = [
        {"id": key, "file_name": key, "location": f"farm of Bero Qvistgaard {key[0]}", "category": 1, "seq_id": key[0]}
        | told
        for key in KEYS
    ]
    write_coco(store, images, {key: marked(image(number)) for number, key in enumerate(KEYS)})
    document = json.loads(store.read("metadata.json"))
    document["info"] |= {"contributor": "Cosima Qvistgaard", "description": f"at {LATITUDE}, {LONGITUDE}"}
    for annotation in document["annotations"]:
        annotation["annotator"] = "Detlef Qvistgaard"
    store.put("metadata.json", json.dumps(document).encode())
    store.put("review.csv", CORRECTIONS.encode())
    store.put("takedown.csv", TAKEDOWN.encode())
    overlays = [{"kind": "corrections", "path": "review.csv"}, {"kind": "takedown", "path": "takedown.csv"}]
    source = {"kind": "coco_camera_traps", "metadata": "metadata.json"}
    return [{"name": "planted", "archive": store.url, "source": source, "overlays": overlays}]


def wildlife_insights(store: Store) -> list[dict[str, Any]]:
    sites = [
        {"project_id": "1", "deployment_id": f"d{n}", "placename": f"farm of Bero Qvistgaard {n}",
         "latitude": LATITUDE, "longitude": LONGITUDE, "recorded_by": "Ada Qvistgaard"}
        for n in range(6)
    ]  # fmt: skip
    said = {"identified_by": "Cosima Qvistgaard", "individual_animal_notes": "known to Detlef Qvistgaard"}
    images = [row(4 * place + n, deployment_id=f"d{place}", **PUMA, **said) for place in range(6) for n in range(4)]
    projects = [{"project_id": "1", "image_license": "CC-BY", "project_admin": "Edda Qvistgaard"}]
    write_bundle(Path(store.url), images, deployments=sites, projects=projects)
    for number, one in enumerate(images):
        store.put(f"{one['deployment_id']}/{one['filename']}", marked(image(number)))
    source = {"kind": "wildlife_insights", "file": "{deployment_id}/{filename}"}
    return [{"name": "planted", "archive": store.url, "source": source}]


@pytest.mark.parametrize("write", [coco, wildlife_insights], ids=lambda write: write.__name__)
def test_what_was_planted_stays_in_the_archive(tmp_path: Path, write: Any) -> None:
    archive, root = open_store(str(tmp_path / "archive")), open_store(str(tmp_path / "root"))
    surveys = write(archive)
    recipe = write_recipe(tmp_path / "recipe.yaml", archive.url, root.url, data={"surveys": surveys})
    held = "".join(readable(archive.read(entry.key), entry.key) for entry in archive.list())
    assert len(found(held)) > 15, "or this test proves nothing"
    page = tmp_path / "health.html"
    said = [xmodal("prepare", recipe, "--dry-run", "--report", page), xmodal("prepare", recipe)]
    assert [one.code for one in said] == [0, 0], said
    stored = [(entry.key, lambda key=entry.key: root.read(key)) for entry in root.list()]
    assert len(stored) > 5 and not leaks(iter(stored))
    assert not found(page.read_text() + "".join(one.out + one.err for one in said))
