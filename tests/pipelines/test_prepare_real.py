"""Prepare on real archives: what is taken of them, and that every file is accounted for."""

from pathlib import Path

import pytest

from infra.storage import open_store
from pipelines.dataset import Dataset, versions
from pipelines.errors import DataRefused
from pipelines.prepare import flow
from pipelines.prepare.settings import DataSettings
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT
from xmodal.settings import parse

pytestmark = pytest.mark.data


def prepare(root: Path, archive: Path, survey: dict[str, object], **changes: object) -> Dataset:
    whole = {"name": "real", "archive": str(archive), **survey}
    data = parse(DataSettings, {"name": "real", "surveys": [whole], "pixels": {"size": 32}, **changes})
    return flow.prepare(data, open_store(str(root)), IMAGE, TEXT, workers=IN_PROCESS, lease=2.0)


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
