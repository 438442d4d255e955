"""The main road on a tiny survey: a real S3 server, two real Ray workers, a real MLflow server."""

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from infra.mlflow_server import MlflowServer
from infra.process import free_ports
from infra.storage import Store
from pipelines.code import git_commit
from pipelines.dataset import Dataset
from pipelines.train.runs import Run
from tests.pipelines.conftest import Road
from tests.pipelines.plants import PLANTS, found, leaks, readable
from tests.pipelines.road import Ended, contents, xmodal

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.timeout(600)]

ADDRESS = re.compile(r"""(?:(?:src|href|action)\s*=\s*|url\()(?!["']?(?:data:|#))|@import|<iframe""")
"""What would load something from outside a page."""
NO_CHANCE = re.compile(r"/incumbent/(animals_missed|blanks_kept)$|/claims/c1_(drift|staleness)$")
"""What an earlier machine does at its own cut, which nobody guesses: the model's row beside it has a chance level. How
far the key encoder has moved: 0 is none, and no guess is asked for."""
NO_INTERVAL = re.compile(r"/claims/(c1_\w+|c3_nmi|c4_modality_auc)$")
"""One clustering, one probe over all images or stored keys at once: no sum over images that could be resampled."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


def images(road: Road, folder: Path, count: int = 3) -> list[Path]:
    """Images of the archive as local files, and one that is none."""
    keys = [entry.key for entry in road.archive.list("images") if entry.size > 1000][:count]
    for number, key in enumerate(keys):
        (folder / f"{number}.jpg").write_bytes(road.archive.read(key))
    (folder / "broken.jpg").write_bytes(b"<html>")
    return sorted(folder.glob("*.jpg"))


def objects(store: Store) -> Iterator[tuple[str, Callable[[], bytes]]]:
    return ((entry.key, partial(store.read, entry.key)) for entry in store.list())


def files(*folders: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    every = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return ((str(path), path.read_bytes) for path in every)


def test_prepare_and_train_say_what_they_made(road: Road) -> None:
    assert road.prepared.code == 0 and "dataset tiny version 1" in road.prepared.out, road.prepared
    assert "truncated 1" in road.prepared.out and "files listed" in road.prepared.out
    assert road.trained.code == 0, road.trained
    assert f"next: xmodal evaluate {road.run}" in road.trained.out and "val/map" in road.trained.out
    assert Dataset.open(road.root, "tiny").counts["train"] % 14, "the last batch of an epoch is padded"
    (*_, told) = [line for line in road.trained.err.splitlines() if line.startswith("train ")]
    assert re.search(r"[\d.]+ samples/s  loss [\d.]+  data wait \d+%", told), road.trained.err


def test_the_second_time_nothing_is_done(road: Road) -> None:
    before = contents(road.root)
    again = xmodal("prepare", road.recipe)
    assert again.code == 0 and "version 1 " in again.out
    assert xmodal("train", road.recipe).out == road.trained.out
    assert contents(road.root) == before


@pytest.fixture(scope="module")
def evaluated(_road: Road, reports: Path) -> Ended:
    """`evaluate --json` of the run, whose figures are logged to its MLflow record."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _road.environment.items():
            patch.setenv(name, value)
        return xmodal("evaluate", _road.run, "--report", reports / "report.html", "--json")


def test_every_figure_has_chance_and_interval(evaluated: Ended) -> None:
    """But those that are named, each for its reason."""
    figures = json.loads(evaluated.out)
    assert {"test/t2i/map_at_r", "test/species/micro", "test/caption/cider"} <= {one["name"] for one in figures}
    bare = {one["name"] for one in figures if one["chance"] is None and not NO_CHANCE.search(one["name"])}
    assert not bare, f"no chance level: {sorted(bare)}"
    several = [one for one in figures if one["n"] > 1 and not NO_INTERVAL.search(one["name"])]
    vague = {one["name"] for one in several if one["low"] is None or one["high"] is None}
    assert not vague, f"no interval: {sorted(vague)}"
    assert len(several) > len(figures) / 2, "most figures have both"
    for one in several:
        assert one["low"] <= one["high"], one


def test_evaluate_writes_a_report_that_stands_alone(evaluated: Ended, reports: Path) -> None:
    assert evaluated.code == 0, evaluated.err
    page = (reports / "report.html").read_text()
    assert not ADDRESS.search(page), ADDRESS.search(page)
    assert not found(page + evaluated.out + evaluated.err)


def test_what_was_planted_stays_in_the_archive(
    road: Road, mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = " ".join(readable(road.archive.read(entry.key), entry.key) for entry in road.archive.list())
    for plant in PLANTS:
        assert all(text in archive for text in plant.texts), f"{plant.where}: or this test proves nothing"
    assert not leaks(objects(road.root))
    logs = list(tmp_path_factory.getbasetemp().glob("ray*"))
    tracked, logged = list(files(mlflow_server.directory)), list(files(*logs))
    assert [name for name, _ in tracked if name.endswith(".db")] and [name for name, _ in logged if "worker" in name]
    assert not leaks(iter(tracked)) and not leaks(iter(logged))
    said = [road.prepared.out, road.prepared.err, road.trained.out, road.trained.err]
    said += [xmodal("prepare", road.recipe, "--dry-run").out, xmodal("show", road.recipe, "--all").out]
    assert not found("\n".join(said))
    pixels = [entry.key for entry in road.root.list("datasets/tiny/pixels")]
    for key in pixels:
        for jpeg in pq.read_table(io.BytesIO(road.root.read(key)))["image"].to_pylist():
            assert not Image.open(io.BytesIO(jpeg)).getexif(), "EXIF holds names and positions"
    assert len(pixels) > 1, "several items, so the cluster did the work"


def test_predict_answers_for_files_that_no_dataset_knows(road: Road, tmp_path: Path) -> None:
    files = images(road, tmp_path)
    answers = {}
    for verb in ("embed", "classify", "caption"):
        ended = xmodal("predict", verb, road.run, tmp_path)
        assert ended.code == 0, ended.err
        rows = [json.loads(line) for line in ended.out.splitlines()]
        assert [row["file"] for row in rows] == [str(path) for path in files]
        assert rows[-1].keys() == {"file", "refused"}, "a file that cannot be read has its reason"
        answers[verb] = rows[0]
        assert not found(ended.out + ended.err), "files of the archive, as it holds them"
    assert sum(value**2 for value in answers["embed"]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert len(answers["classify"]["species"]) > 1 and isinstance(answers["caption"]["caption"], str)
    ended = xmodal("predict", "embed", road.run, files[0], "--out", tmp_path / "rows.parquet")
    assert ended.code == 0 and not ended.out
    (row,) = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert row["file"] == str(files[0])
    assert row["embedding"] == pytest.approx(answers["embed"]["embedding"], abs=1e-5)


def test_search_ranks_the_images_of_the_dataset(road: Road) -> None:
    ended = xmodal("search", "a", "red", "fox", "--checkpoint", road.run, "--split", "test", "-k", "4", "--json")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0 and [row["rank"] for row in rows] == [1, 2, 3, 4], ended.err
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert {row["split"] for row in rows} == {"test"} and not found(ended.out + ended.err)


def test_check_reads_every_byte(road: Road) -> None:
    for target in ("tiny", road.run):
        assert xmodal("check", target, "--read-data").code == 0
    assert xmodal("check", f"{road.root.url}/runs/{road.run}").code == 0


def test_figures_are_printed_where_mlflow_is_dead(road: Road, tmp_path: Path) -> None:
    """All of them and the report, then one line; the code says that not all was done."""
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    report = tmp_path / "report.html"
    ended = xmodal("evaluate", road.run, f"tracking.uri={address}", "--report", report)
    assert ended.code == 5 and address in ended.line and "were not logged" in ended.line and str(report) in ended.line
    assert re.search(r"^test/species/micro +[\d.]+\s?%", ended.out, re.MULTILINE) and f"report: {report}" in ended.out
    assert report.read_text().startswith("<!doctype html>")


def test_mlflow_holds_what_the_run_was(road: Road, evaluated: Ended) -> None:
    client = MlflowClient(tracking_uri=road.environment["MLFLOW_TRACKING_URI"])
    record = Run(road.root, road.run).read("run.json")
    assert record is not None
    run = client.get_run(record["mlflow_run_id"])
    assert run.info.status == "FINISHED" and run.info.run_name == road.run
    assert run.data.params.items() >= {"model.momentum.coefficient": "0.9", "train.global_batch": "14"}.items()
    assert run.data.tags["dataset.digest"] == Dataset.open(road.root, "tiny").digest
    assert run.data.tags["fingerprint"] in road.run
    assert run.data.tags["dataset.version"] == "1" and run.data.tags["mlflow.source.git.commit"] == git_commit()
    assert run.inputs is not None
    (source,) = [json.loads(one.dataset.source) for one in run.inputs.dataset_inputs]
    assert source["version"] == 1 and source["digest"] == run.data.tags["dataset.digest"]
    wanted = {f"train/{name}" for name in ("loss", "itc", "itm", "lm")} | {"val/map", "val/i2t/r1"}
    wanted |= {"system/cpu_utilization_percentage", "time/samples_per_second", "time/data_wait"}
    wanted |= {"momentum/coefficient", "momentum/staleness", "queue/fill", "queue/age", "temperature"}
    wanted |= {"queue/drift", "queue/leak_image", "queue/leak_text"}
    assert wanted <= run.data.metrics.keys()
    curve = client.get_metric_history(run.info.run_id, "queue/fill")
    assert sorted((point.step, point.value) for point in curve)[-1][1] == 1.0
    assert "recipe.yaml" in [file.path for file in client.list_artifacts(run.info.run_id)]
    assert [file.path for file in client.list_artifacts(run.info.run_id, "report")] == ["report/report.html"]
    for one in json.loads(evaluated.out):
        if math.isfinite(one["value"]):
            assert run.data.metrics[one["name"]] == pytest.approx(one["value"])


def test_a_checkpoint_says_what_code_made_it(road: Road) -> None:
    """Beside dataset version and digest."""
    state = json.loads(road.root.read(f"runs/{road.run}/{Run(road.root, road.run).best()[0].directory}/state.json"))
    assert state["code"] == {"version": version("xmodal"), "commit": git_commit()}
    dataset = Dataset.open(road.root, "tiny")
    assert (state["dataset"], state["dataset_version"], state["dataset_digest"]) == ("tiny", 1, dataset.digest)
