"""Prepare on real archives: what is taken of them, and that every file is accounted for."""

from pathlib import Path

import pytest

from infra.storage import open_store
from pipelines.dataset import Dataset, versions
from pipelines.errors import DataRefused
from pipelines.health.content import HealthContent
from pipelines.prepare import flow
from pipelines.prepare.settings import DataSettings
from pipelines.recipe import Recipe
from pipelines.report import render
from tests.pipelines.health_surveys import health
from tests.pipelines.road import document
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT
from xmodal.settings import parse

pytestmark = pytest.mark.data


def prepare(root: Path, archive: Path, survey: dict[str, object], **changes: object) -> Dataset:
    whole = {"name": "real", "archive": str(archive), **survey}
    data = parse(DataSettings, {"name": "real", "surveys": [whole], "pixels": {"size": 32}, **changes})
    return flow.prepare(data, open_store(str(root)), IMAGE, TEXT, workers=IN_PROCESS, lease=2.0)


def looked_at(root: Path, archive: Path, kind: str) -> HealthContent:
    """The health page, ten files read."""
    survey = {"name": "real", "archive": str(archive), "source": {"kind": kind}}
    data = {"name": "real", "surveys": [survey], "pixels": {"size": 32}}
    return health(parse(Recipe, document("", str(root), data=data)), sample=10)


def fates(page: HealthContent) -> dict[str, int]:
    return {row.name: row.files for row in (*page.files.fates, *page.files.absent)}


def test_public_camera_trap_frames(data_dir: Path, tmp_path: Path) -> None:
    overlay = {"kind": "megadetector", "path": "detections.megadetector.json", "images_prefix": "images"}
    source = {"kind": "coco_camera_traps", "metadata": "annotations.cct.json", "images_prefix": "images"}
    dataset = prepare(tmp_path, data_dir / "cameratraps", {"source": source, "overlays": [overlay]})
    assert dataset.document["surveys"][0]["counts"] == {"ok": 820, "rejected/metadata": 2}
    assert len(dataset.attributes()["species"]) == 22 and dataset.check() == []
    places = [set(dataset.records(["place"], split)["place"].to_pylist()) for split in ("train", "val", "test")]
    assert all(places) and sum(map(len, places)) == len(set.union(*places))


def test_the_standards_example_package_is_one_place(data_dir: Path, tmp_path: Path) -> None:
    """Ten frames of one camera: readable, but nothing is left to validate with, and no version is made."""
    with pytest.raises(DataRefused, match=r"no image with a text in val \(train 10, val 0"):
        prepare(tmp_path, data_dir / "camtrap-dp-example", {"source": {"kind": "camtrap_dp"}})
    assert versions(open_store(str(tmp_path)), "real") == []


def test_what_is_taken_of_the_standards_example_package(data_dir: Path, tmp_path: Path) -> None:
    """As docs/real-data.md says."""
    page = looked_at(tmp_path, data_dir / "camtrap-dp-example", "camtrap_dp")
    assert page.files.listed == 14 and fates(page) == {"taken": 10, "metadata": 4}
    refused = {"remote_url": 413, "observation_of_refused_media": 504, "event_label_superseded": 35}
    assert page.files.rows_refused == {"real": refused}


def test_a_bundle_of_metadata_alone_is_refused_with_counts_and_has_a_page(data_dir: Path, tmp_path: Path) -> None:
    """As docs/real-data.md says."""
    archive = data_dir / "wildlife-insights" / "cristales"
    page = looked_at(tmp_path, archive, "wildlife_insights")
    assert fates(page) == {"taken": 0, "metadata": 3, "not_image": 1, "missing": 4950} and not page.files.rows_refused
    told = f"no image that may be taken under {archive} (4,950 missing; 3 metadata; 1 not_image)"
    assert page.verdict == f"A run would stop: survey real: {told}." and told in render(page)
    with pytest.raises(DataRefused) as refused:
        prepare(tmp_path, archive, {"source": {"kind": "wildlife_insights"}})
    assert str(refused.value) == f"survey real: {told}" and versions(open_store(str(tmp_path)), "real") == []
