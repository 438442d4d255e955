"""docs/real-data.md works as pasted: real archives through S3, prepare, train on two workers, evaluate.

All camera-trap frames; of Flickr8k a slice, as tar members. Training is short, so the figures are only asked to be
better than chance and than the model before its first step.
"""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.train.runs import Run
from tests.conftest import REPOSITORY
from tests.pipelines.road import trained_run, xmodal

pytestmark = [
    pytest.mark.slow, pytest.mark.data, pytest.mark.ray, pytest.mark.services, pytest.mark.timeout(1200)
]  # fmt: skip

LINES = (REPOSITORY / "docs/real-data.md").read_text().splitlines()
SLICE = {"train.txt": 160, "dev.txt": 40, "test.txt": 40}
CAPTIONS = 5


@pytest.fixture
def road(bucket_url: str, ray_cluster: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty prefix of the S3 server that Ray's workers reach too; the verbs run in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XMODAL_ROOT", f"{bucket_url}/root")
    return bucket_url


def push(name: str, data: Path, url: str) -> str:
    """The page's own command, to a prefix of this test; returns the archive's URL."""
    (function,) = [line for line in LINES if line.startswith("push()")]
    (command,) = [line for line in LINES if line.startswith(f'push "$DATA/{name}" ')]
    archive = f"{url}/{name}"
    words = [*shlex.split(command)[:2], archive.removeprefix("s3://")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = f'{function}\n{words[0]} "{words[1]}" {words[2]}'
    ended = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"DATA": str(data), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return archive


def travelled(recipe: str, archive: str, *overrides: str) -> tuple[Dataset, dict[str, dict[str, Any]]]:
    """The page's three commands of a recipe, with overrides: the dataset, and the figures by name."""
    commands = {
        line.split()[1]: shlex.split(line)[1:] for line in LINES if line.startswith("xmodal ") and recipe in line
    }
    assert list(commands) == ["prepare", "train", "evaluate"]
    words = (f"data.surveys.0.archive={archive}", *overrides)
    made = xmodal(*commands["prepare"], *words)
    assert made.code == 0, made.err
    trained = xmodal(*commands["train"], *words)
    assert trained.code == 0, trained.err
    run = trained_run(trained)
    asked = [run if word == "RUN" else word for word in commands["evaluate"]]
    ended = xmodal(*asked, "--json")
    assert ended.code == 0, ended.err
    assert Path(f"{recipe}.html").read_text().startswith("<!doctype html>")
    store = open_store(os.environ["XMODAL_ROOT"])
    assert (Run(store, run).read("result.json") or {})["run"] == run
    return Dataset.open(store, recipe), {one["name"]: one for one in json.loads(ended.out)}


def better(figures: dict[str, dict[str, Any]], name: str) -> None:
    """Well above chance and above the model before its first step, which has the same chance."""
    found, before = figures[name], figures[f"untrained/{name}"]
    print(name, {key: found[key] for key in ("value", "chance", "low", "high", "n")}, "untrained", before["value"])
    assert found["value"] > 1.5 * found["chance"] and found["low"] < found["value"] < found["high"]
    assert found["value"] > 1.5 * before["value"] and before["chance"] == pytest.approx(found["chance"])


def test_camera_trap_frames(road: str, data_dir: Path) -> None:
    """Loose objects, with boxes of a real detector."""
    dataset, figures = travelled("camera-traps", push("cameratraps", data_dir, road), "train.epochs=8")
    assert dataset.document["surveys"][0]["counts"] == {"ok": 820, "rejected/metadata": 2}
    assert dataset.ledger(["key"]).num_rows == 822 and dataset.counts["train"] == 414
    boxes = dataset.records(["n_boxes"])["n_boxes"].to_pylist()
    assert None not in boxes and sum(count > 0 for count in boxes) > 500
    assert dataset.check() == []
    better(figures, "test/t2i/map_at_r")
    species = figures["test/species/micro"]
    assert species["baseline"] is not None and species["low"] < species["value"] < species["high"]
    assert species["value"] > species["chance"]


def slice_of(source: Path, folder: Path) -> None:
    """The first images of each split with their captions, in one tar."""
    names: dict[str, str] = {}
    for split, count in SLICE.items():
        chosen = (source / split).read_text().split()[:count]
        (folder / split).write_text("\n".join(chosen) + "\n")
        names |= dict.fromkeys(chosen, split)
    lines = (source / "Flickr8k.token.txt").read_text().splitlines()
    kept = [line for line in lines if re.split(r"[#\t]", line)[0] in names]
    assert len(kept) == CAPTIONS * len(names)
    (folder / "Flickr8k.token.txt").write_text("\n".join(kept) + "\n")
    with tarfile.open(folder / "images.tar", "w") as out:
        for path in sorted(source.glob("images-*.tar")):
            with tarfile.open(path) as archive:
                for member in archive:
                    if Path(member.name).name in names:
                        content = archive.extractfile(member)
                        assert content is not None
                        out.addfile(member, io.BytesIO(content.read()))


def test_a_slice_of_flickr8k(road: str, data_dir: Path, tmp_path: Path) -> None:
    """Images are tar members; both encoders are frozen and cached."""
    folder = tmp_path / "flickr8k"
    folder.mkdir()
    slice_of(data_dir / "flickr8k", folder)
    small = ("train.epochs=20", "train.global_batch=32", "model.queue.size=64")
    dataset, figures = travelled("flickr8k", push("flickr8k", tmp_path, road), *small)
    assert dataset.counts == {"train": 160, "val": 40, "test": 40} and len(dataset.document["features"]) == 2
    captions = dataset.records(["captions"])["captions"].to_pylist()
    counts = [len(json.loads(text)) for text in captions]
    assert set(counts) == {CAPTIONS - 1, CAPTIONS} and counts.count(CAPTIONS - 1) == 1, "one image has a caption twice"
    ledger = dataset.ledger(["key", "status"]).to_pylist()
    assert {".tar" in row["key"] for row in ledger if row["status"] == "ok"} == {True}
    better(figures, "test/rsum")
