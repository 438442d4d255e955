"""Nothing that a checkpoint could hold is run when it is read, even where its manifest fits what was put there."""

import json
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.xmodal import tiny
from xmodal import checkpoint
from xmodal.checkpoint import Damaged
from xmodal.inference import Inference
from xmodal.regions import read_regions
from xmodal.settings import SettingsError
from xmodal.transforms import BadImage

TENSORS = [name for name in checkpoint.FILES if name.endswith(".safetensors")]


class Payload:
    """What a pickle would run: it leaves a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.trace,)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    model = tiny.model()
    checkpoint.save(
        folder,
        model=model,
        queue=model.queue.state(),
        optimizer=torch.optim.AdamW(model.parameters()),
        state={"step": 0},
        recipe_yaml="name: tiny\n",
        wordpiece=tiny.wordpiece(),
        attributes_json='{"attributes": {"species": ["zebra"]}}',
        rng=[checkpoint.rng_state()],
    )
    return folder


def put(folder: Path, name: str, data: bytes) -> None:
    """As one does who may write there: with a manifest that agrees."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    del manifest["digest"]
    manifest["files"][name] = {"size": len(data), "sha256": sha256(data).hexdigest()}
    whole = manifest | {"digest": checkpoint._digest(manifest)}
    (folder / checkpoint.MANIFEST).write_text(json.dumps(whole))


def torch_saved(payload: Payload, folder: Path) -> bytes:
    torch.save({"weight": payload}, folder / "saved.pt")
    return (folder / "saved.pt").read_bytes()


@pytest.mark.parametrize("make", [lambda payload, _: pickle.dumps(payload), torch_saved], ids=["pickle", "torch.save"])
@pytest.mark.parametrize("name", TENSORS)
def test_a_payload_is_refused_and_not_run(
    name: str, make: Callable[[Payload, Path], bytes], saved: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    data = make(Payload(tmp_path / "trace"), tmp_path)
    pickle.loads(pickle.dumps(Payload(tmp_path / "other")))
    assert (tmp_path / "other").exists(), "or this test proves nothing"
    put(folder, name, data)
    checkpoint.verify(folder)
    model = tiny.model()
    with pytest.raises(Damaged, match=name):
        checkpoint.restore(folder, model=model, optimizer=torch.optim.AdamW(model.parameters()))
    if name == "model.safetensors":
        with pytest.raises(Damaged, match=name):
            checkpoint.load_weights(folder, tiny.model())
    assert not (tmp_path / "trace").exists()


def test_tags_of_a_recipe_build_nothing(saved: Path, tmp_path: Path) -> None:
    """YAML can name Python objects, and safe YAML builds none."""
    folder = Path(shutil.copytree(saved, tmp_path / "copy"))
    put(folder, "recipe.yaml", f"!!python/object/apply:pathlib.Path.touch ['{tmp_path}/trace']\n".encode())
    with pytest.raises(SettingsError, match=r"recipe.yaml: not valid YAML"):
        Inference.load(folder)
    assert not (tmp_path / "trace").exists()


def test_region_features_hold_numbers_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "regions.npy", np.array([Payload(tmp_path / "trace")], dtype=object), allow_pickle=True)
    with pytest.raises(BadImage, match="Object arrays cannot be loaded"):
        read_regions((tmp_path / "regions.npy").read_bytes())
    assert not (tmp_path / "trace").exists()
