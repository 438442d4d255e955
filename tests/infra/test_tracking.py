"""Tracking against a real MLflow server: all is found again, and a stopped or killed server costs one warning."""

import importlib.util
import logging
import os
import pickle
import secrets
import signal
import sys
import threading
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from infra import curves
from infra.curves import Curves, NoCurves
from infra.mlflow_server import MlflowServer
from infra.process import free_ports
from infra.storage import Denied, Unreachable
from infra.tracking import DatasetVersion, NullTracker, Tracker

pytestmark = pytest.mark.services

DATASET = DatasetVersion("survey", 3, "ab" * 32, "s3://bucket/datasets/survey")


def start(uri: str, **options) -> Tracker:
    given = {"params": {"train.seed": 1}, "tags": {"fingerprint": "f00"}, "system_metrics": False} | options
    return Tracker.start(uri, f"experiment-{secrets.token_hex(4)}", "run-1", **given)


def test_a_run_holds_what_it_was_given(mlflow_server, tmp_path):
    params = {f"part.setting{number}": number for number in range(230)} | {"long": "x" * 9000, "none": None}
    tracker = start(mlflow_server.uri, params=params, note="# A note", commit="c0ffee", dataset=DATASET, parent="p")
    tracker.log(0, {"train/loss": 2.0, "val/i2t/r1": 0.5})
    tracker.log(1, {"train/loss": 1.0, "momentum": float("nan")})
    (tmp_path / "report.html").write_text("<p>report</p>")
    tracker.artifact(tmp_path / "report.html", "reports")
    tracker.set_tags({"late": "yes"})
    tracker.finish()
    client = MlflowClient(tracking_uri=mlflow_server.uri)
    run = client.get_run(tracker.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "run-1"
    assert len(run.data.params) == 232 and run.data.params["long"] == "x" * 6000
    wanted = {"mlflow.note.content": "# A note", "mlflow.source.git.commit": "c0ffee", "fingerprint": "f00"}
    wanted |= {"late": "yes", "dataset.version": "3", "dataset.digest": "ab" * 32, "mlflow.parentRunId": "p"}
    assert run.data.tags.items() >= wanted.items()
    assert run.inputs is not None
    assert [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs] == [("survey", "ab" * 18)]
    history = client.get_metric_history(tracker.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(0, 2.0), (1, 1.0)]
    assert [file.path for file in client.list_artifacts(tracker.run_id, "reports")] == ["reports/report.html"]


def test_worker_zero_logs_and_a_restart_goes_on(mlflow_server):
    driver = start(mlflow_server.uri)
    for step in (1, 2):
        again = start(mlflow_server.uri, params={"train.seed": 2}, run_id=driver.run_id)
        for rank in (0, 1):
            worker = pickle.loads(pickle.dumps(again.worker()))
            worker.attach(rank)
            worker.log(step, {f"rank{rank}": 1.0})
            worker.detach()
    driver.finish("KILLED")
    run = MlflowClient(tracking_uri=mlflow_server.uri).get_run(driver.run_id)
    assert set(run.data.metrics) == {"rank0"}
    assert run.data.params == {"train.seed": "1"} and run.info.status == "KILLED"


def test_racing_starts_share_one_experiment(mlflow_server):
    name, ids, failures = f"race-{secrets.token_hex(4)}", [], []

    def run() -> None:
        try:
            ids.append(Tracker.start(mlflow_server.uri, name, "r", params={}, tags={}).run_id)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(set(ids)) == 6


def test_a_server_that_is_not_there_at_the_start_is_one_line():
    (port,) = free_ports(1)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=rf"MLflow at http://127.0.0.1:{port}: no answer; check tracking.uri"):
        start(f"http://127.0.0.1:{port}")
    assert time.monotonic() - begun < 15


def test_a_run_that_this_server_does_not_know_is_begun_anew(mlflow_server, caplog):
    with caplog.at_level(logging.WARNING, "xmodal.tracking"):
        tracker = start(mlflow_server.uri, run_id="0" * 32)
    tracker.finish()
    assert "is not on this server" in caplog.text
    assert MlflowClient(tracking_uri=mlflow_server.uri).get_run(tracker.run_id).data.params


def test_a_run_that_was_deleted_is_one_line(mlflow_server):
    tracker = start(mlflow_server.uri)
    tracker.finish()
    MlflowClient(tracking_uri=mlflow_server.uri).delete_run(tracker.run_id)
    with pytest.raises(Denied, match=r"refuses: .*deleted") as caught:
        start(mlflow_server.uri, run_id=tracker.run_id)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGSTOP, signal.SIGKILL])
def test_a_dead_or_frozen_server_delays_no_step(tmp_path, caplog, monkeypatch, blow):
    monkeypatch.setattr(curves, "CLOSE_SECONDS", 1.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")  # of 5, to spare the suite's time
    with MlflowServer(tmp_path / "mlflow") as server, caplog.at_level(logging.WARNING, "xmodal.tracking"):
        tracker = start(server.uri).worker()
        tracker.attach(0)
        steps = []
        for step in range(200):
            if step == 50:
                server.child.signal(blow)
            begun = time.monotonic()
            tracker.log(step, {f"train/{name}": 1.0 for name in ("loss", "itc", "itm", "lm")})
            steps.append(time.monotonic() - begun)
        deadline = time.monotonic() + 60
        while "training goes on" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        tracker.detach()
        server.child.signal(signal.SIGCONT) if blow == signal.SIGSTOP else None
    assert len(steps) == 200 and max(steps) < 0.5
    messages = [record.getMessage() for record in caplog.records]
    assert len([line for line in messages if "training goes on without it" in line]) == 1
    assert len(messages) <= 2 and all("\n" not in line for line in messages)


@pytest.mark.slow
def test_a_dead_server_at_the_end_is_a_warning(tmp_path, caplog):
    with MlflowServer(tmp_path / "mlflow") as server:
        tracker = start(server.uri)
    (tmp_path / "file").write_text("x")
    begun = time.monotonic()
    tracker.artifact(tmp_path / "file")
    tracker.finish()
    assert time.monotonic() - begun < 30
    assert "file was not logged" in caplog.text and "status FINISHED was not logged" in caplog.text


LOADER = """
from pathlib import Path

class Doubler:
    def __init__(self, factor): self.factor = factor
    def predict(self, frame, params=None): return frame * self.factor

def _load_pyfunc(data_path):
    return Doubler(int(Path(data_path, "factor.txt").read_text()))
"""


def test_a_model_loads_without_pickle(mlflow_server, tmp_path, monkeypatch):
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    module = f"loader_{secrets.token_hex(4)}"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "factor.txt").write_text("2")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / f"{module}.py").write_text(LOADER)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    frame = pd.DataFrame({"x": [1, 2, 3]})
    tracker, name = start(mlflow_server.uri), f"model-{secrets.token_hex(4)}"
    uri = tracker.log_model(
        "model",
        loader_module=module,
        data_path=tmp_path / "data",
        example=frame,
        prediction=frame * 2,
        requirements=["pandas"],
        code_paths=[tmp_path / "code" / f"{module}.py"],
        register_as=name,
    )
    tracker.finish()
    monkeypatch.undo()
    sys.modules.pop(module, None)
    mlflow.set_tracking_uri(mlflow_server.uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{name}/1")
    assert uri is not None and loaded.predict(frame)["x"].tolist() == [2, 4, 6]
    assert [column["name"] for column in loaded.metadata.signature.inputs.to_dict()] == ["x"]
    files = Path(download_artifacts(uri, dst_path=str(tmp_path / "copy"))).rglob("*")
    assert not [path for path in files if path.suffix in (".pkl", ".pickle")]
    assert MlflowClient(mlflow_server.uri).get_run(tracker.run_id).info.status == "FINISHED"


def test_the_null_tracker_has_every_method():
    public = {name for name in vars(Tracker) if not name.startswith("_")} - {"start"}
    assert public <= set(vars(NullTracker))
    assert {name for name in vars(Curves) if not name.startswith("_")} <= set(vars(NoCurves))
    null = NullTracker()
    for one in (null, null.worker()):
        one.log(1, {"x": 1.0})
    null.worker().attach(0)
    null.worker().detach()
    null.artifact("nowhere")
    assert null.log_model("m", loader_module="x", data_path="y") is None
    null.finish()


@pytest.mark.skipif(importlib.util.find_spec("psutil") is None, reason="system metrics need psutil")
def test_system_metrics_arrive_from_worker_zero(mlflow_server):
    driver = start(mlflow_server.uri, system_metrics=True)
    worker = driver.worker()
    worker.attach(0)
    client, deadline = MlflowClient(tracking_uri=mlflow_server.uri), time.monotonic() + 30
    while not client.get_run(driver.run_id).data.metrics and time.monotonic() < deadline:
        time.sleep(0.1)
    worker.detach()
    driver.finish()
    found = client.get_run(driver.run_id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(found)
