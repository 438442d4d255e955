"""`xmodal predict classify --to`: answers of a trained model as files, held against what other tools read."""

import csv
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.storage import open_store
from pipelines.sources.camtrap_dp import CamtrapDP
from tests.pipelines.answering import PLACES, Answering, answering
from tests.pipelines.packages import faults

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Answering:
    return answering(tmp_path_factory.mktemp("answering"))


def write_deployments(file: Path, **changes: dict[str, str]) -> Path:
    """Coordinates of every deployment of the protocol survey; `changes` of some rows, by deploymentID."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["deploymentID", "latitude", "longitude", "deploymentStart"])
        writer.writeheader()
        for n in range(PLACES):
            row = {"deploymentID": f"d{n}", "latitude": f"{40 + n / 100}", "longitude": "-3.5", "deploymentStart": ""}
            writer.writerow(row | changes.get(f"d{n}", {}))
    return file


@pytest.fixture(scope="module")
def package(model: Answering, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of answers to all images of the version, with a new package."""
    folder = tmp_path_factory.mktemp("answers")
    deployments = write_deployments(folder / "deployments.csv")
    ended = model.classify("--dataset", "tiny", "--to", folder / "out", "--deployments", deployments)
    assert ended.code == 0, ended.err
    return folder / "out"


def test_the_new_package_is_what_the_standard_asks_for(package: Path) -> None:
    assert faults(package / "camtrap-dp/datapackage.json") == []


def test_our_own_reader_reads_the_package_back(model: Answering, package: Path) -> None:
    survey = CamtrapDP(kind="camtrap_dp").read(open_store(str(package / "camtrap-dp")))
    assert survey.refused.counts.keys() <= {"event_label_superseded"}, "an event says no more than its frames do"
    frames = pq.read_table(package / "frames.parquet")
    assert sorted(survey.media["media_id"].to_pylist()) == sorted(frames["media_id"].to_pylist())
    said = survey.observations.to_pylist()
    assert {one["method"] for one in said} == {"machine"}
    named = Counter((row["media_id"], row["taxon"]) for row in frames.to_pylist() if row["taxon"])
    read = Counter((one["media_id"], one["taxon"]) for one in said if one["taxon"] and one["level"] == "media")
    assert read == named and len(named) > 50
    descriptor = json.loads((package / "camtrap-dp/datapackage.json").read_text())
    assert f"{model.run}@0" in descriptor["description"] and "tiny@1" in descriptor["description"]
