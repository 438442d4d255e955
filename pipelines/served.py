"""The trained model as MLflow serves it: the files of its best checkpoint, loaded without pickle by pyfunc.py."""

import shutil
import tempfile
from pathlib import Path

from infra.tracking import NullTracker, Tracker
from pipelines import pyfunc
from pipelines.recipe import Recipe
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


def _example(data: Path):
    """One row of each kind that the model takes, and what it says to them."""
    import pandas as pd

    model = pyfunc.Embedder(Inference.load(data))
    kinds = {"image": [None, pyfunc.grey_image()], "text": [EXAMPLE, None]}
    rows = pd.DataFrame(kinds if model.inference.reads_pixels else {"text": [EXAMPLE]})
    return rows, model.predict(rows)
