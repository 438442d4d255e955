"""Media at addresses of allowed hosts: keys in every format that has paths, and in the overlays that join by them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.storage import Linked, Store, Web, open_store
from pipelines.sources import CocoCameraTraps, INaturalist, MegaDetector, SpeciesNet, WildlifeInsights
from pipelines.sources.schema import Survey
from tests.pipelines import test_sources_coco as coco
from tests.pipelines import test_sources_inaturalist as inaturalist
from tests.pipelines import test_sources_wildlife_insights as wildlife
from tests.pipelines.test_sources_megadetector import box, survey
from tests.pipelines.test_sources_signs import kept_out

ADDRESS, ELSEWHERE = "https://media.example/1.jpg?size=full", "https://other.example/2.jpg"


def linked(folder: Path) -> Store:
    return Linked(open_store(str(folder)), Web(frozenset(["media.example"])))


def write_coco(folder: Path) -> CocoCameraTraps:
    images = [coco.image(1, file_name=ADDRESS), coco.image(2, file_name=ELSEWHERE)]
    coco.read(folder, [*images, coco.image(3)], [])
    return CocoCameraTraps(kind="coco_camera_traps", metadata="cct.json", images_prefix="images")


def write_inaturalist(folder: Path) -> INaturalist:
    images = [inaturalist.image(1, file_name=ADDRESS), inaturalist.image(2, file_name=ELSEWHERE)]
    inaturalist.write(folder, images, [])
    return INaturalist(kind="inaturalist", train="train2018.json", val="val2018.json", categories="categories.json")


def write_wildlife(folder: Path) -> WildlifeInsights:
    names = [ADDRESS.removeprefix("https://"), ELSEWHERE.removeprefix("https://")]
    rows = [wildlife.image(number, filename=name) for number, name in enumerate(names)]
    wildlife.write(folder, rows)
    return WildlifeInsights(kind="wildlife_insights", file="https://{filename}", images_prefix="copies")


@pytest.mark.parametrize("written", [write_coco, write_inaturalist, write_wildlife])
def test_sources(tmp_path: Path, written: Callable[[Path], Any]) -> None:
    found = written(tmp_path).read(linked(tmp_path))
    assert [key for key in found.media["key"].to_pylist() if "://" in key] == [ADDRESS]
    assert found.refused.counts["remote_url"] == 1


def laid(folder: Path, kind: str, below: Survey, *paths: str) -> Survey:
    """A person in each of `paths`, as an overlay says."""
    document: dict[str, Any] = {
        "predictions": [{"filepath": path, "detections": [box("2", 0.7)]} for path in paths],
        "images": [{"file": path, "detections": [box("2", 0.7)]} for path in paths],
        "detection_categories": {"2": "person"},
    }
    (folder / "boxes.json").write_text(json.dumps(document))
    one = {"megadetector": MegaDetector, "speciesnet": SpeciesNet}[kind]
    return one.model_validate({"kind": kind, "path": "boxes.json", "images_prefix": "img"}).read(linked(folder), below)


@pytest.mark.parametrize("kind", ["megadetector", "speciesnet"])
def test_overlays(tmp_path: Path, kind: str) -> None:
    below = survey(ADDRESS, "img/a.jpg", "img/b.jpg")
    found = laid(tmp_path, kind, below, ADDRESS, "a.jpg", ELSEWHERE)
    assert found.detections["key"].to_pylist() == [ADDRESS, "img/a.jpg"]
    assert kept_out(found) == {ADDRESS: "human", "img/a.jpg": "human"}
    assert found.refused.counts["remote_url"] == 1
    assert kept_out(laid(tmp_path, kind, below, ADDRESS)) == {ADDRESS: "human"}
