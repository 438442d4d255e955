"""`xmodal predict classify --to`: answers of a trained model as files, held against what other tools read."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from infra.storage import open_store
from pipelines.predictions.exif import taken_at
from pipelines.predictions.labels import by_people
from pipelines.predictions.trust import TRUST, file_name
from pipelines.sources.camtrap_dp import CamtrapDP
from pipelines.sources.megadetector import MegaDetector
from pipelines.spreadsheets import safe
from tests.conftest import REPOSITORY
from tests.pipelines.answering import PLACES, Answering
from tests.pipelines.packages import TABLES, faults
from tests.pipelines.protocol_survey import NEW
from tests.pipelines.road import xmodal

pytestmark = pytest.mark.timeout(600)
VALIDATOR = ("megadetector==10.0.28", "jsonpickle>=3")
"""Installed without what else MegaDetector needs: this is what its validator imports, OpenCV and requests apart."""


@pytest.fixture(scope="module")
def model(answered: Answering) -> Answering:
    return answered


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
def answers(model: Answering, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of answers to all images of the version, with a new package."""
    folder = tmp_path_factory.mktemp("answers")
    deployments = write_deployments(folder / "deployments.csv")
    ended = model.classify("--dataset", "tiny", "--to", folder / "out", "--deployments", deployments)
    assert ended.code == 0 and "360/360" in ended.err, ended.err
    assert ended.out.splitlines()[-1].startswith("360 images: species ")
    return folder / "out"


def frames(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "frames.parquet").to_pylist()


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def without(row: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in names}


def test_evaluate_says_what_is_answered_and_keeps_the_thresholds(model: Answering) -> None:
    figures = {one["name"]: one for one in json.loads(model.evaluated.out)}
    for unit in ("frames", "events"):
        answered, right = (figures[f"test/accepted/{unit}/{name}"] for name in ("answered", "right"))
        assert 10 < answered["value"] < 100 and answered["low"] < answered["high"]
        assert right["value"] > 80 and right["n"] < answered["n"] and 0 < right["chance"] < 100
    (key,) = [one.key for one in open_store(f"{model.root}/runs/{model.run}").list() if one.key.startswith("trust-")]
    trust = json.loads(open_store(f"{model.root}/runs/{model.run}").read(key))
    assert key == file_name(trust["weights"]) and trust["blank"] and trust["images"] > 50
    assert trust["of_frames"]["0.95"]["species"] >= trust["of_frames"]["0.8"]["species"] > 0


def test_answers_are_right_as_often_as_asked_for_where_they_are_given(model: Answering, answers: Path) -> None:
    """Of frames that nobody trained on or chose thresholds by; the survey's numbers tell what they show."""
    test = model.dataset.records(["media_id", "taxon"], split="test").to_pylist()
    trained = {one["species"] for one in frames(answers)}
    truth = {one["media_id"]: one["taxon"] for one in test if one["taxon"] in trained}
    said = [one for one in frames(answers) if one["media_id"] in truth and one["rank"] == "species"]
    assert len(said) >= 10 and sum(one["taxon"] == truth[one["media_id"]] for one in said) / len(said) >= 0.8
    for one in frames(answers):
        assert (one["confidence"] is None) == (one["type"] == "unknown") and one["reason"] and one["refused"] is None
        assert (one["rank"] is None) == (one["taxon"] is None)


def test_every_output_says_what_made_it(model: Answering, answers: Path) -> None:
    words = (f"{model.run}@0", "tiny@1", "tiny ")
    made_by = json.loads((answers / "made_by.json").read_text())
    assert (made_by["model"], made_by["trained_on"]) == words[:2] and made_by["recipe"].startswith("tiny ")
    assert made_by["asked"] == {"dataset": "tiny", "version": 1, "digest": model.dataset.digest}
    assert sum(made_by["images"].values()) == 360
    for name in ("frames", "events"):
        inside = json.loads((pq.read_schema(answers / f"{name}.parquet").metadata or {})[b"xmodal"])
        assert inside["weights"] == made_by["weights"]
        assert {(row["model"], row["trained_on"], row["recipe"][:5]) for row in table(answers / f"{name}.csv")} == {
            words
        }
    descriptor = (answers / "camtrap-dp/datapackage.json").read_text()
    assert all(word in descriptor for word in words)
    (by,) = {row["classifiedBy"] for row in table(answers / "camtrap-dp/observations.csv")}
    info = json.loads((answers / "megadetector.json").read_text())["info"]
    assert by == info["classifier"] == words[0] and info["classifier_metadata"]["trained_on"] == words[1]


def test_the_csv_is_the_parquet_and_no_cell_is_a_formula(answers: Path) -> None:
    for name in ("frames", "events"):
        rows = pq.read_table(answers / f"{name}.parquet").to_pylist()
        for written, row in zip(table(answers / f"{name}.csv"), rows, strict=True):
            for column, value in row.items():
                cell = f"{value:.4f}" if isinstance(value, float) else str(value)
                assert written[column] == ("" if value is None else cell)
    for cell in ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "\n=1"):
        assert safe(cell) == f"'{cell}"
    assert (safe("fox=1"), safe(-0.5), safe(3), safe(None)) == ("fox=1", "-0.5000", 3, None)


def test_one_answer_an_event(answers: Path) -> None:
    events = pq.read_table(answers / "events.parquet").to_pylist()
    by_event = Counter(one["event_id"] for one in frames(answers))
    assert {one["event_id"]: one["frames"] for one in events} == by_event and len(events) == 180
    assert all(one["start"] < one["end"] for one in events)


def test_the_new_package_is_what_the_standard_asks_for(answers: Path, tmp_path: Path) -> None:
    """The check finds what it is shown: a key that leads nowhere, a wrong word, a bad coordinate, a lacking field."""
    assert faults(answers / "camtrap-dp/datapackage.json") == []
    harms = {
        "media.csv": ("m7,d0", "m7,d99"),
        "observations.csv": (",media,animal,", ",media,beast,"),
        "deployments.csv": (",40.01,", ",140.01,"),
        "datapackage.json": ('"samplingDesign": ', '"design": '),
    }
    for name, (before, after) in harms.items():
        shutil.copytree(answers / "camtrap-dp", tmp_path / name)
        whole = (tmp_path / name / name).read_text()
        assert before in whole
        (tmp_path / name / name).write_text(whole.replace(before, after, 1))
        assert faults(tmp_path / name / "datapackage.json"), name


def test_our_own_reader_reads_the_package_back(answers: Path) -> None:
    survey = CamtrapDP(kind="camtrap_dp").read(open_store(str(answers / "camtrap-dp")))
    assert survey.refused.counts.keys() <= {"event_label_superseded"}, "an event says no more than its frames do"
    assert sorted(survey.media["media_id"].to_pylist()) == sorted(one["media_id"] for one in frames(answers))
    said = survey.observations.to_pylist()
    named = Counter((row["media_id"], row["taxon"]) for row in frames(answers) if row["taxon"])
    read = Counter((one["media_id"], one["taxon"]) for one in said if one["taxon"] and one["level"] == "media")
    assert {one["method"] for one in said} == {"machine"} and read == named and len(named) > 50


def test_a_reviewed_package_says_what_people_say(model: Answering, tmp_path: Path) -> None:
    """In place of the model's answers to their frames and events; a species that it has never seen is one of them."""
    deployments = write_deployments(tmp_path / "deployments.csv")
    ended = model.classify("--dataset", "tiny", "--to", tmp_path / "out", "--deployments", deployments, "--reviewed")
    assert ended.code == 0, ended.err
    assert faults(tmp_path / "out/camtrap-dp/datapackage.json") == []
    rows = table(tmp_path / "out/camtrap-dp/observations.csv")
    known = model.dataset.records(["media_id", "facts"]).to_pylist()
    facts = {row["media_id"]: row["facts"] for row in known if by_people(row["facts"])}
    assert 0 < len(facts) < len(known)
    for row in rows:
        person = row["mediaID"] in facts
        assert row["classificationMethod"] == ("human" if person else "machine")
        assert (row["classifiedBy"] == row["classificationProbability"] == "") == person
        if person:
            label = json.loads(facts[row["mediaID"]])
            assert row["observationType"] == label["type"]["value"]
            assert row["scientificName"] == (label["taxon"]["value"] if "taxon" in label else "")
    events = {row["eventID"] for row in rows if row["observationLevel"] == "event"}
    assert not events & {row["eventID"] for row in rows if row["mediaID"] in facts}
    document = json.loads((tmp_path / "out/camtrap-dp/datapackage.json").read_text())
    taxa = {one["scientificName"]: one for one in document["taxonomic"]}
    assert taxa[NEW]["family"] == "Canidae" and taxa[NEW]["taxonRank"] == "species"


def megadetectors_verdict(file: Path, folder: Path) -> dict[str, Any]:
    """What the validator of the package `megadetector` says."""
    packages = [*VALIDATOR, *(["opencv-python-headless"] if find_spec("cv2") is None else [])]
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *packages]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"megadetector cannot be installed: {installed.stderr[-300:]}")
    program = ("import json, sys; from megadetector.postprocessing import validate_batch_results as own; "
               "print(json.dumps(own.validate_batch_results(sys.argv[1])['validation_results']))")  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(folder)}
    asked = subprocess.run([sys.executable, "-c", program, str(file)], env=environment, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout.splitlines()[-1])


def test_megadetectors_own_validator_takes_the_json(answers: Path, tmp_path: Path) -> None:
    verdict = megadetectors_verdict(answers / "megadetector.json", tmp_path)
    assert verdict["errors"] == [] and verdict["warnings"] == []
    classes = json.loads((answers / "megadetector.json").read_text())["classification_categories"]
    counted = {classes[number]: count for number, count in verdict["classification_category_id_to_count"].items()}
    assert counted == Counter(one["taxon"] for one in frames(answers) if one["taxon"])


def test_our_own_reader_reads_the_json_back(model: Answering, answers: Path) -> None:
    """Boxes are those of the detector, and whole frames where it found nothing."""
    store = model.archive
    store.put("answers.json", (answers / "megadetector.json").read_bytes())
    bare = CamtrapDP(kind="camtrap_dp").read(store)
    found = MegaDetector(kind="megadetector", path="answers.json").read(store, bare)
    said = {one["media_id"]: one["taxon"] for one in found.observations.to_pylist()
            if one["origin"] == "megadetector_classifier"}  # fmt: skip
    assert said == {one["media_id"]: one["taxon"] for one in frames(answers) if one["taxon"]}
    entries = json.loads((answers / "megadetector.json").read_text())["images"]
    boxes = Counter(tuple(box["bbox"]) for entry in entries for box in entry["detections"])
    assert boxes[0.2, 0.2, 0.5, 0.5] > 200 and boxes[0.0, 0.0, 1.0, 1.0] > 20 and len(boxes) == 2


def edited(package: Path, folder: Path) -> Path:
    """A package of people's observations, one of them of a frame that the model never sees, with a column and a
    resource of its own."""
    shutil.copytree(package, folder)
    observations = table(folder / "observations.csv")
    for n, row in enumerate(observations):
        row |= {"observationID": f"h{n}", "classificationMethod": "human", "classifiedBy": "Ann", "sky": "blue"}
    media = table(folder / "media.csv")
    strange = {"mediaID": "elsewhere", "filePath": "other/1.jpg", "filePublic": "false"}
    for name, rows in {"observations": observations, "media": [*media, media[0] | strange]}.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (folder / "extra").mkdir()
    (folder / "extra/weather.csv").write_text("day,rain\n1,0\n")
    descriptor = json.loads((folder / "datapackage.json").read_text())
    descriptor["resources"].append({"name": "weather", "path": "extra/weather.csv"})
    lynx = {"scientificName": "Lynx lynx", "taxonRank": "species"}
    descriptor |= {
        "title": "Ours",
        "taxonomic": [lynx],
        "project": descriptor["project"] | {"observationLevel": ["media"]},
    }
    (folder / "datapackage.json").write_text(json.dumps(descriptor))
    return folder / "datapackage.json"


def test_observations_are_appended_to_a_package_that_keeps_its_keys(
    model: Answering, answers: Path, tmp_path: Path
) -> None:
    """Its media and deployments, the rows and columns of people, its other resources. Appended to the result again,
    ours replace ours."""
    given = edited(answers / "camtrap-dp", tmp_path / "given")
    before = {path: path.read_bytes() for path in given.parent.rglob("*") if path.is_file()}
    ended = model.classify("--dataset", "tiny", "--to", tmp_path / "out", "--package", given)
    assert ended.code == 0, ended.err
    assert before == {path: path.read_bytes() for path in given.parent.rglob("*") if path.is_file()}
    made = tmp_path / "out/camtrap-dp"
    for name in ("media", "deployments"):
        assert table(made / f"{name}.csv") == table(given.parent / f"{name}.csv")
    rows = table(made / "observations.csv")
    people = [row for row in rows if row["classificationMethod"] == "human"]
    assert people == table(given.parent / "observations.csv") and people[0]["sky"] == "blue"
    ours = [row for row in rows if row["classificationMethod"] == "machine"]
    expected = table(answers / "camtrap-dp/observations.csv")
    assert [without(row, "sky", "classificationTimestamp") for row in ours] == [
        without(row, "classificationTimestamp") for row in expected
    ]
    assert (made / "extra/weather.csv").read_text() == "day,rain\n1,0\n"
    descriptor = json.loads((made / "datapackage.json").read_text())
    assert descriptor["title"] == "Ours" and descriptor["project"]["observationLevel"] == ["media", "event"]
    said = {row["scientificName"] for row in ours} - {""}
    assert {one["scientificName"] for one in descriptor["taxonomic"]} == said | {"Lynx lynx"}
    assert "1 of its taxa the model was not trained on and never names: Lynx lynx" in ended.err
    again = model.classify("--dataset", "tiny", "--to", tmp_path / "again", "--package", made / "datapackage.json")
    assert again.code == 0 and len(table(tmp_path / "again/camtrap-dp/observations.csv")) == len(rows)


def test_an_appended_package_is_what_the_standard_asks_for(model: Answering, answers: Path, tmp_path: Path) -> None:
    """One that was: without a column of its own. Read back, people's word stands before ours."""
    given = edited(answers / "camtrap-dp", tmp_path / "given")
    rows = [
        {name: value for name, value in row.items() if name != "sky"}
        for row in table(given.parent / "observations.csv")
    ]
    with (given.parent / "observations.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    shutil.make_archive(str(tmp_path / "given"), "zip", given.parent)
    for package in (given, tmp_path / "given.zip"):
        ended = model.classify("--dataset", "tiny", "--to", tmp_path / "out", "--package", package)
        assert ended.code == 0, ended.err
        assert faults(tmp_path / "out/camtrap-dp/datapackage.json") == []
    survey = CamtrapDP(kind="camtrap_dp").read(open_store(str(tmp_path / "out/camtrap-dp")))
    assert Counter(survey.observations["method"].to_pylist()).keys() == {"human", "machine"}


def test_a_folder_of_files_is_answered_like_the_dataset(model: Answering, answers: Path, tmp_path: Path) -> None:
    """Its camera is the folder, its time what EXIF says; a file that cannot be read has its reason. No coordinates and
    no offset from UTC are made up."""
    folder = tmp_path / "survey"
    (folder / "=cam").mkdir(parents=True)
    for n in range(6):
        exif = Image.Exif()
        exif[0x8769] = {0x9003: f"2026:05:0{1 + n // 2} 11:00:0{n % 2}"}
        image = Image.open(Path(model.archive.url) / f"img/{n:04d}.jpg")
        image.save(folder / "=cam" / f"{n}.png", exif=exif)  # lossless: the same pixels
    (folder / "=cam/broken.jpg").write_bytes(b"<html>")
    deployments = tmp_path / "deployments.csv"
    deployments.write_text("deploymentID,latitude,longitude\n=cam,40,-3\n")
    asked = (folder, "--to", tmp_path / "out", "--deployments", deployments)
    refused = model.classify(*asked)
    assert refused.code == 3 and "of which the offset from UTC is not known" in refused.err, refused.err
    assert not list((tmp_path / "out").rglob("*.csv")) and not list((tmp_path / "out").rglob(".*"))
    ended = model.classify(*asked, "--utc-offset", "+02:00")
    assert ended.code == 0, ended.err
    found = frames(tmp_path / "out")
    like = {one["file"]: one for one in frames(answers)}
    for n, one in enumerate(found[:6]):
        own = like[f"img/{n:04d}.jpg"]
        assert (one["type"], one["taxon"]) == (own["type"], own["taxon"])
        assert one["species_confidence"] == pytest.approx(own["species_confidence"], abs=1e-5)
        assert one["captured_at"] == f"2026-05-0{1 + n // 2} 11:00:0{n % 2}"
    assert len({one["event_id"] for one in found[:6]}) == 3 and found[6]["refused"] == "not_image"
    assert {row["deployment_id"] for row in table(tmp_path / "out/frames.csv")} == {"'=cam"}
    entries = {one["file"]: one for one in json.loads((tmp_path / "out/megadetector.json").read_text())["images"]}
    assert entries["=cam/broken.jpg"] == {"file": "=cam/broken.jpg", "detections": None,
                                          "failure": "image access failure: not_image"}  # fmt: skip
    media = table(tmp_path / "out/camtrap-dp/media.csv")
    assert media[0]["timestamp"] == "2026-05-01T11:00:00+0200" and media[0]["filePublic"] == "false"
    assert model.classify(*asked, "--utc-offset", "+02:00", "--public").code == 0
    assert {row["filePublic"] for row in table(tmp_path / "out/camtrap-dp/media.csv")} == {"true"}
    assert faults(tmp_path / "out/camtrap-dp/datapackage.json") == []


@pytest.mark.services
def test_a_bucket_is_answered_like_a_folder(model: Answering, bucket_url: str, tmp_path: Path) -> None:
    """Loose files and members of a tar, without a copy on the disk."""
    folder, bucket = tmp_path / "survey", open_store(f"{bucket_url}/survey")
    (folder / "cam1").mkdir(parents=True)
    for n in range(4):
        shutil.copy(Path(model.archive.url) / f"img/{n:04d}.jpg", folder / "cam1")
        bucket.put(f"cam1/{n:04d}.jpg", (folder / f"cam1/{n:04d}.jpg").read_bytes())
    for one, to in ((str(folder), "mine"), (f"{bucket_url}/survey", "theirs")):
        ended = model.classify(one, "--to", tmp_path / to)
        assert ended.code == 0, ended.err
    mine, theirs = frames(tmp_path / "mine"), frames(tmp_path / "theirs")
    assert mine == theirs and [row["file"] for row in theirs] == [f"cam1/{n:04d}.jpg" for n in range(4)]
    shutil.make_archive(str(tmp_path / "cam2"), "tar", folder / "cam1")
    bucket.put("cam2.tar", (tmp_path / "cam2.tar").read_bytes())
    assert model.classify(f"{bucket_url}/survey", "--to", tmp_path / "theirs").code == 0
    more = {row["file"]: row["species_confidence"] for row in frames(tmp_path / "theirs")}
    assert len(more) == 8 and all(more[f"cam1/{n:04d}.jpg"] == row["species_confidence"] for n, row in enumerate(mine))
    nobody = model.classify(f"{bucket_url}/nothing", "--to", tmp_path / "none")
    assert nobody.code == 10 and "no image file in s3://" in nobody.line


def test_a_files_own_offset_is_believed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2026:05:01 11:00:00", 0x9011: "-03:30"}
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert taken_at((tmp_path / "a.jpg").read_bytes()) == ("2026-05-01 11:00:00", -12600)
    assert taken_at(b"<html>") == (None, None)


def test_killed_and_run_again_it_goes_on(model: Answering, tmp_path: Path) -> None:
    """No part is made twice, and what is written is what an undisturbed run writes."""
    folder = tmp_path / "survey"
    for copy in range(2):
        shutil.copytree(Path(model.archive.url) / "img", folder / f"cam{copy}")
    words = ["predict", "classify", model.run, str(folder), "--root", model.root]
    command = [sys.executable, "-m", "pipelines", *words, "--to", str(tmp_path / "out")]
    parts = tmp_path / "out/vectors"
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not list(parts.glob("*.parquet")) and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    made = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert 0 < len(made) < 3 and not (tmp_path / "out/frames.csv").exists()
    assert xmodal(*words, "--to", tmp_path / "out").code == 0
    now = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    assert len(now) == 3 and made.items() <= now.items()
    assert xmodal(*words, "--to", tmp_path / "other").code == 0
    for name in ("frames.csv", "events.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert xmodal(*words, "--to", tmp_path / "out", "--precision", "0.8").code == 0
    assert {path.name: path.stat().st_mtime_ns for path in parts.iterdir()} == now, "another precision needs no look"
    assert json.loads((tmp_path / "out/made_by.json").read_text())["precision"] == 0.8


def test_scores_as_json_lines_are_as_they_were(model: Answering) -> None:
    ended = model.classify(Path(model.archive.url) / "img/0000.jpg")
    (row,) = [json.loads(line) for line in ended.out.splitlines()]
    assert row.keys() == {"file", "species"} and len(row["species"]) == 4


def test_a_card_stands_in_for_the_run(model: Answering, answers: Path, tmp_path: Path) -> None:
    """Where the checkpoint is a directory. A card of another model is refused, a damaged one too."""
    (directory,) = (Path(model.root) / "runs" / model.run).glob("checkpoint-*")
    trust = (Path(model.root) / "runs" / model.run).glob("trust-*")
    (tmp_path / "card").mkdir()
    shutil.copy(next(trust), tmp_path / "card" / TRUST)
    asked = ("predict", "classify", directory, "--dataset", "tiny", "--root", model.root, "--to", tmp_path / "out")
    bare = xmodal(*asked)
    assert bare.code == 10 and "--card" in bare.line
    ended = xmodal(*asked, "--card", tmp_path / "card")
    assert ended.code == 0, ended.err
    assert frames(tmp_path / "out") == frames(answers)
    document = json.loads((tmp_path / "card" / TRUST).read_text())
    (tmp_path / "card" / TRUST).write_text(json.dumps(document | {"weights": "0" * 64}))
    other = xmodal(*asked, "--card", tmp_path / "card")
    assert other.code == 2 and "of another checkpoint" in other.line
    (tmp_path / "card" / TRUST).write_text("{")
    assert xmodal(*asked, "--card", tmp_path / "card").code == 2


def test_mistakes_end_in_one_line_before_any_work(model: Answering, answers: Path, tmp_path: Path) -> None:
    given = edited(answers / "camtrap-dp", tmp_path / "given")
    descriptor = json.loads(given.read_text())
    old = tmp_path / "given/old.json"
    old.write_text(json.dumps(descriptor | {"profile": "https://example.org/0.1.7/camtrap-dp-profile.json"}))
    media = [
        row | {"mediaID": f"x{n}", "filePath": f"x/{n}.jpg"} for n, row in enumerate(table(given.parent / "media.csv"))
    ]
    (tmp_path / "given/strange.csv").write_text(
        "\n".join([",".join(media[0]), *(",".join(row.values()) for row in media)]) + "\n"
    )
    for resource in descriptor["resources"]:
        resource["path"] = "strange.csv" if resource["name"] == "media" else resource["path"]
    strange = tmp_path / "given/strange.json"
    strange.write_text(json.dumps(descriptor))
    lacking = write_deployments(tmp_path / "lacking.csv", d7={"deploymentID": "d7b"})
    north = write_deployments(tmp_path / "north.csv", d3={"latitude": "140"})
    local = write_deployments(tmp_path / "local.csv", d3={"deploymentStart": "2026-05-01 10:00"})
    dataset = ("--dataset", "tiny")
    wrong = [
        (("--dataset", "tinny"), 10, "no dataset tinny"),
        (("--dataset", "tiny@two"), 2, "tiny@3"),
        ((*dataset, "--survey", "protokoll"), 10, "it has protocol"),
        ((*dataset, "--precision", "0.97"), 2, "0.8, 0.9, 0.95, 0.98, 0.99"),
        ((*dataset, "--utc-offset", "CET", "--deployments", lacking), 2, "+02:00"),
        ((*dataset, "--deployments", lacking), 3, "12 images are of deployment 'd7', of which it has no row (did"),
        ((*dataset, "--deployments", north), 3, "row 5: latitude '140' is not a number from -90 to 90"),
        ((*dataset, "--deployments", local), 3, "row 5: deploymentStart '2026-05-01 10:00' is not a time with"),
        ((*dataset, "--deployments", tmp_path / "none.csv"), 10, "none.csv"),
        ((*dataset, "--deployments", tmp_path / "d.xlsx"), 2, ".csv"),
        ((*dataset, "--package", strange), 3, "none of the 360 images is one of its media, by mediaID or filePath"),
        ((*dataset, "--package", old), 3, "is not Camtrap DP 1.0.x"),
        ((*dataset, "--package", tmp_path / "none/datapackage.json"), 10, "datapackage.json"),
        ((tmp_path / "given",), 10, "no image file in"),
    ]  # fmt: skip
    for words, code, told in wrong:
        ended = model.classify(*words, "--to", tmp_path / "out")
        assert ended.code == code and told in ended.line, (words, ended)
    usage = [
        ((*dataset, answers), "either one folder"),
        ((), "either one folder"),
        ((answers, answers), "either one"),
        ((given,), "either one"),
    ]
    for words, told in [*usage, ((*dataset, "--deployments", north, "--package", given), "give one of them")]:
        ended = model.classify(*words, "--to", tmp_path / "out")
        assert ended.code == 2 and told in ended.err, (words, ended)
    for words in (("--dataset", "tiny"), (answers, "--utc-offset", "+02:00")):
        assert model.classify(*words).code == 2
    assert not list(tmp_path.glob("out/*"))


def test_before_an_evaluation_nothing_is_claimed(model: Answering, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(Path(model.root) / "runs" / model.run, root / "runs" / model.run)
    for trust in (root / "runs" / model.run).glob("trust-*"):
        trust.unlink()
    ended = xmodal(
        "predict", "classify", model.run, Path(model.archive.url) / "img", "--root", root, "--to", tmp_path / "out"
    )
    assert ended.code == 10 and "`xmodal evaluate`" in ended.line


@pytest.mark.data
def test_the_official_example_takes_observations(model: Answering, data_dir: Path, tmp_path: Path) -> None:
    """A real package: times in two offsets, media at addresses, ten of which lie in a folder: one event by their EXIF.
    All its rows stay."""
    example = data_dir / "camtrap-dp-example"
    ended = model.classify(example, "--to", tmp_path, "--package", example / "datapackage.json")
    assert ended.code == 0, ended.err
    for name in TABLES:
        before, after = ({tuple(row.values()) for row in table(folder / f"{name}.csv")}
                         for folder in (example, tmp_path / "camtrap-dp"))  # fmt: skip
        assert len(after - before) == (11 if name == "observations" else 0) and before <= after
    assert faults(tmp_path / "camtrap-dp/datapackage.json") == []


def test_predictions_hold_vectors_for_what_comes_later(model: Answering, answers: Path) -> None:
    """A search and a review read them: float32 of unit length, a row an image."""
    parts = [pq.ParquetFile(path).read() for path in (answers / "vectors").iterdir()]
    whole = pa.concat_tables(parts)
    assert len(whole) == 360 and {len(one) for one in whole["vector"].to_pylist()} == {4 * 16}
