"""What earlier releases stored opens in this one: dataset versions and checkpoints, figure by figure."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from tests.golden import make
from tests.pipelines.road import xmodal
from xmodal import checkpoint

RELEASES = sorted(path.parent for path in make.HERE.glob("*/expected.json"))
VECTORS = ("image", "text", "moments")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the newest, to be changed."""
    return Path(shutil.copytree(RELEASES[-1], tmp_path / "root"))


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_what_a_release_stored_is_read_alike(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    found: dict[str, Any] = make.found(open_store(str(folder)))
    for name in VECTORS:
        assert found.pop(name) == pytest.approx(expected.pop(name), abs=1e-5), name
    assert found == expected
    for what in ("tiny", f"runs/{make.NAME}/{make.DIRECTORY}"):
        ended = xmodal("check", what if what == "tiny" else folder / what, "--root", folder, "--read-data")
        assert ended.code == 0, ended.err


def test_the_artefacts_are_small() -> None:
    for folder in RELEASES:
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 300_000


def test_a_checkpoint_of_a_later_format_is_refused_in_one_line(release: Path) -> None:
    path = release / "runs" / make.NAME / make.DIRECTORY / checkpoint.MANIFEST
    manifest = json.loads(path.read_text()) | {"format": checkpoint.FORMAT + 1}
    del manifest["digest"]
    path.write_text(json.dumps(manifest | {"digest": checkpoint._digest(manifest)}))
    for verb in (("check", make.NAME), ("predict", "embed", make.NAME, str(Path(__file__)))):
        ended = xmodal(*verb, "--root", release)
        assert ended.code != 0 and f"checkpoint format {checkpoint.FORMAT + 1}, this release reads" in ended.err


def test_a_dataset_version_of_a_later_format_is_refused_in_one_line(release: Path) -> None:
    path = release / "datasets" / "tiny" / "versions" / "00000001.json"
    path.write_text(path.read_text().replace("xmodal-dataset-1", "xmodal-dataset-2"))
    told = "version 1 is of format xmodal-dataset-2, this release reads xmodal-dataset-1"
    ended = xmodal("check", "tiny", "--root", release)
    assert ended.code == 1 and told in ended.line
    for version in (None, 1):
        with pytest.raises(NotFound, match=told):
            Dataset.open(open_store(str(release)), "tiny", version)
