"""The trained model as MLflow serves it: the files of its best checkpoint, loaded without pickle by pyfunc.py."""

import shutil
import tempfile
from pathlib import Path

from infra.registry import Registry
from infra.storage import Unreachable
from infra.tracking import NullTracker, Tracker
from pipelines import pyfunc
from pipelines.errors import Failed
from pipelines.recipe import Recipe
from pipelines.train.runs import Run, sound
from xmodal.inference import Inference
from xmodal.settings import dump_yaml

EXAMPLE = "a camera-trap image of a red fox"


def record_model(tracker: Tracker | NullTracker, recipe: Recipe, checkpoint: Path) -> None:
    """Logs the recipe and the model in the directory `checkpoint`, with its signature, to the run's MLflow record."""
    with tempfile.TemporaryDirectory() as temporary:
        text = Path(temporary) / "recipe.yaml"
        text.write_text(dump_yaml(recipe, whole=True), encoding="utf-8")
        tracker.artifact(text)
        data = Path(temporary) / "model"
        data.mkdir()
        for file in pyfunc.files(checkpoint):
            shutil.copy(file, data)
        example, prediction = _example(data)
        tracker.log_model(
            "model",
            loader_module="pipelines.pyfunc",
            data_path=data,
            example=example,
            prediction=prediction,
            shown=example[["text"]].iloc[:1],
            requirements=["xmodal"],
            register_as=recipe.tracking.register_as,
        )


def mlflow_run(run: Run) -> str:
    """The MLflow run that records a training run. Raises Failed where nothing recorded it."""
    found = (run.read("run.json") or {}).get("mlflow_run_id")
    if found is None:
        raise Failed(f"{run.name}: was trained without MLflow, so it has no version in a registry; train it again")
    return found


def record_again(recipe: Recipe, run: Run, registry: Registry) -> int:
    """Logs the model of a complete run once more, whose registration had failed; returns its version. Raises
    Unreachable where it fails again."""
    tracker = Tracker.start(registry.uri, recipe.tracking.experiment, "", params={}, tags={}, run_id=mlflow_run(run))
    with sound(run, run.best()) as (_, directory):
        record_model(tracker, recipe, directory)
    tracker.finish()
    version = registry.of_run(tracker.run_id)
    if version is None:
        raise Unreachable(f"MLflow at {registry.uri}: {run.name} is trained but was not registered; run again")
    return version


def _example(data: Path):
    """One row of each kind that the model takes, and what it says to them."""
    import pandas as pd

    model = pyfunc.Embedder(Inference.load(data))
    kinds = {"image": [None, pyfunc.grey_image()], "text": [EXAMPLE, None]}
    rows = pd.DataFrame(kinds if model.inference.reads_pixels else {"text": [EXAMPLE]})
    return rows, model.predict(rows)
