"""MLflow as seen from a run: the driver opens it, worker 0 adds to its curves, the driver adds files, model and status.

Files and the model are sent while nothing waits for them, with short timeouts; where that fails a warning says what is
missing.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException

from infra.curves import Curves, NoCurves, one_line, set_limits
from infra.storage import Denied, Unreachable

UPLOAD_SECONDS = "120"
PARAMS_PER_BATCH = 100
PARAM_CHARACTERS = 6000
DIGEST_CHARACTERS = 36

logger = logging.getLogger("xmodal.tracking")


@dataclass(frozen=True)
class DatasetVersion:
    """What a run was trained on, as MLflow shows it: name, version, digest (hex), and where it lies."""

    name: str
    version: int
    digest: str
    url: str


class NullTracker:
    """Tracks nothing: the same methods, where no MLflow server is named."""

    run_id = ""

    def worker(self) -> NoCurves:
        return NoCurves()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        return

    def set_tags(self, tags: Mapping[str, str]) -> None:
        return

    def artifact(self, path: str | Path, folder: str = "") -> None:
        return

    def log_model(self, name: str, **parts: Any) -> None:
        return

    def finish(self, status: str = "FINISHED") -> None:
        return


class Tracker:
    """One MLflow run, in the driver."""

    def __init__(self, uri: str, run_id: str, started: float, system_metrics: bool) -> None:
        """started: Unix seconds."""
        self.uri, self.run_id, self.started, self.system_metrics = uri, run_id, started, system_metrics
        self._curves = Curves(uri, run_id, started, system_metrics=False)
        self._curves.attach(0)

    @classmethod
    def start(
        cls,
        uri: str,
        experiment: str,
        run_name: str,
        *,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        note: str = "",
        commit: str = "",
        dataset: DatasetVersion | None = None,
        parent: str = "",
        run_id: str | None = None,
        system_metrics: bool = True,
    ) -> "Tracker":
        """Opens a run, or by `run_id` an earlier one again, whose params then stay as they were. An earlier one that
        this server does not know gives a warning and a new run.

        params: flat names to values; a value is cut at 6,000 characters. note: Markdown shown on the run's page.
        parent: run id of the sweep or retraining that this run belongs to. Raises Unreachable, Denied.
        """
        set_limits()
        client = MlflowClient(tracking_uri=uri)
        standard = {"mlflow.note.content": note, "mlflow.source.git.commit": commit, "mlflow.parentRunId": parent}
        named = dict(tags) | {name: value for name, value in standard.items() if value}
        with one_line_errors(uri):
            if run_id is None or not _reopened(client, run_id):
                run_id = _created(client, experiment, run_name, named, params, dataset)
            return cls(uri, run_id, client.get_run(run_id).info.start_time / 1000, system_metrics)

    def worker(self) -> Curves:
        """What the workers of the run log to."""
        return Curves(self.uri, self.run_id, self.started, self.system_metrics)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Queues one point a metric at `step`; returns at once, whatever the server does."""
        self._curves.log(step, metrics)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Adds or changes tags; a warning where the server does not take them."""
        with self._careful("tags"):
            MlflowClient(tracking_uri=self.uri).log_batch(self.run_id, tags=[RunTag(*pair) for pair in tags.items()])

    def artifact(self, path: str | Path, folder: str = "") -> None:
        """Uploads a file below `folder`; a warning where the server does not take it."""
        with self._careful(Path(path).name), _upload_time():
            MlflowClient(tracking_uri=self.uri).log_artifact(self.run_id, str(path), folder or None)

    def log_model(
        self,
        name: str,
        *,
        loader_module: str,
        data_path: str | Path,
        example: Any,
        prediction: Any,
        shown: Any = None,
        requirements: Sequence[str],
        code_paths: Sequence[str | Path] = (),
        register_as: str | None = None,
    ) -> str | None:
        """Logs what `mlflow.pyfunc.load_model` loads through `loader_module._load_pyfunc(data_path)`: no pickle.

        The signature is that of `example` (what `predict` takes) and `prediction` (what it gives); `shown` is kept as
        the input example where `example` holds what JSON cannot. register_as: name of
        the registered model that gets a new version. Returns the model's URI; None, and a warning, where it failed.
        """
        with self._careful(f"model {name}"), _upload_time(), _current_run(self.uri, self.run_id):
            logged = mlflow.pyfunc.log_model(
                name=name,
                loader_module=loader_module,
                data_path=str(data_path),
                code_paths=[str(path) for path in code_paths] or None,
                signature=infer_signature(example, prediction),
                input_example=example if shown is None else shown,
                pip_requirements=list(requirements),
                registered_model_name=register_as,
            )
            return logged.model_uri
        return None

    def finish(self, status: str = "FINISHED") -> None:
        """Delivers the rest and closes the run: FINISHED, FAILED or KILLED."""
        self._curves.detach()
        with self._careful(f"status {status}"):
            MlflowClient(tracking_uri=self.uri).set_terminated(self.run_id, status)

    @contextmanager
    def _careful(self, what: str) -> Iterator[None]:
        """Work is never lost to a tracking server: its failure is a warning."""
        try:
            yield
        except (MlflowException, RequestException, OSError) as error:
            logger.warning("MLflow at %s: %s was not logged: %s", self.uri, what, one_line(error))


@contextmanager
def _upload_time() -> Iterator[None]:
    """The server answers an upload when it has stored it, which for a model takes longer than a few points do."""
    before = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = UPLOAD_SECONDS
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = before


@contextmanager
def one_line_errors(uri: str) -> Iterator[None]:
    """What a server at `uri` does not take or answer, as Denied or Unreachable in a line."""
    try:
        yield
    except (MlflowException, RequestException, OSError) as error:
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 0
        if 400 <= status < 500:
            raise Denied(f"MLflow at {uri} refuses: {one_line(error)}") from None
        raise Unreachable(f"MLflow at {uri}: no answer; check tracking.uri and that the server runs") from None


def _created(
    client: MlflowClient,
    experiment: str,
    run_name: str,
    tags: Mapping[str, str],
    params: Mapping[str, object],
    dataset: DatasetVersion | None,
) -> str:
    run = client.create_run(_experiment(client, experiment), tags=dict(tags), run_name=run_name)
    values = [Param(name, str(value)[:PARAM_CHARACTERS]) for name, value in params.items()]
    for batch in (values[at : at + PARAMS_PER_BATCH] for at in range(0, len(values), PARAMS_PER_BATCH)):
        client.log_batch(run.info.run_id, params=batch)
    if dataset is not None:
        _log_dataset(client, run.info.run_id, dataset)
    return run.info.run_id


def _reopened(client: MlflowClient, run_id: str) -> bool:
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        logger.warning("MLflow run %s is not on this server: a new one is begun", run_id)
        return False
    return True


def _experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment, made where it is missing; of racing makers all but one are told that it exists."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException as error:
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return found.experiment_id


def _log_dataset(client: MlflowClient, run_id: str, dataset: DatasetVersion) -> None:
    """As MLflow's dataset input, whose digest holds 36 characters, and in full as tags."""
    source = json.dumps({"url": dataset.url, "version": dataset.version, "digest": dataset.digest})
    entity = Dataset(dataset.name, dataset.digest[:DIGEST_CHARACTERS], "xmodal", source)
    client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])
    tags = {"dataset.name": dataset.name, "dataset.version": dataset.version, "dataset.digest": dataset.digest}
    client.log_batch(run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])


@contextmanager
def _current_run(uri: str, run_id: str) -> Iterator[None]:
    """MLflow's module-level functions act on a global address and run; both are put back."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(run_id=run_id):
            yield
    finally:
        mlflow.set_tracking_uri(before)
