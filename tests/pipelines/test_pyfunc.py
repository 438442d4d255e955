"""The trained model as MLflow serves it: loaded without pickle, it answers like Inference."""

import os
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts

from pipelines import pyfunc
from pipelines.train.runs import Run, opened
from tests.pipelines.conftest import Road
from xmodal.inference import Inference

TEXT = "a camera-trap image of a red fox"


@pytest.mark.ray
@pytest.mark.services
@pytest.mark.timeout(600)
def test_mlflow_loads_the_model_and_it_answers_like_inference(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    record = Run(road.root, road.run).read("run.json")
    assert record is not None
    monkeypatch.setattr(mlflow, "get_tracking_uri", mlflow.get_tracking_uri)
    mlflow.set_tracking_uri(road.environment["MLFLOW_TRACKING_URI"])
    model = mlflow.pyfunc.load_model(f"runs:/{record['mlflow_run_id']}/model")
    assert model.metadata.signature is not None and model.metadata.flavors["python_function"].keys() >= {"data"}
    image = pyfunc.grey_image()
    found = model.predict(pd.DataFrame({"image": [image, None], "text": [None, TEXT]}))
    with opened(road.root, road.run) as directory:
        own = Inference.load(directory)
    assert np.allclose(found[0], own.image_vectors(own.pixels_of([image]))[0], atol=1e-6)
    assert np.allclose(found[1], own.text_vectors([TEXT])[0], atol=1e-6)
    uri = f"runs:/{record['mlflow_run_id']}/model"
    files = [
        path for path in Path(download_artifacts(uri, dst_path=str(tmp_path / "model"))).rglob("*") if path.is_file()
    ]
    assert "model.safetensors" in {path.name for path in files}
    assert not [path for path in files if path.read_bytes()[:1] == b"\x80" or b"python_model:" in path.read_bytes()]
    with pytest.raises(ValueError, match="row 0: give either an image"):
        pyfunc.Embedder(own).predict([{"image": image, "text": TEXT}])
