"""Makes the golden artefacts of a release, once: `python -m tests.golden.make 0.1.0`, from the repository's root.

`tests/golden/RELEASE/` is a storage root with a dataset version of generated frames and a run with one checkpoint of
three steps, and `expected.json`: what a reader must find in them. They stay as they are; later releases add their own.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.recipe import Recipe
from pipelines.train.descent import Descent
from pipelines.train.plan import TrainingPlan, build_model
from pipelines.train.runs import SNAPSHOT, Run
from tests.pipelines.road import prepared, save, stepped
from xmodal import checkpoint
from xmodal.inference import Inference
from xmodal.settings import parse, read_yaml

HERE = Path(__file__).parent
STEPS = 3
NAME, DIRECTORY = "golden", f"checkpoint-{STEPS:010d}"
TEXT = "a red fox at night"
_SMALL = {"width": 8, "depth": 1, "heads": 2}
MODEL: dict[str, Any] = {
    "embed_dim": 8,
    "image": {"width": 8, "depth": 0},
    "text": {"width": 8},
    "tasks": {"itm": None, "lm": {"decoder": _SMALL}},
}


def pixels() -> torch.Tensor:
    """(1, 3, 32, 32) uint8, by arithmetic alone: no decoder has a part in it."""
    return (torch.arange(3 * 32 * 32) * 37 % 251).to(torch.uint8).reshape(1, 3, 32, 32)


def make(folder: Path) -> None:
    """Writes the artefacts of this release into `folder`, which must not exist."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        recipe = prepared("root", model=MODEL, tracking={"uri": ""})
        made, kept = open_store("root"), open_store(str(folder))
        for entry in made.list("datasets"):
            kept.put(entry.key, made.read(entry.key))
        train(recipe, kept)
    (folder / "expected.json").write_text(json.dumps(found(kept), indent=1) + "\n")


def train(recipe: Recipe, store: Store) -> None:
    """A few steps in this process, and a checkpoint of them as a run leaves it."""
    dataset = Dataset.open(store, recipe.data.name)
    plan = TrainingPlan.of(recipe, dataset)
    model, descent, _ = stepped(recipe, plan, STEPS)
    run = Run(store, NAME)
    state = {"step": STEPS, "history": [], "world_size": 1, "run": NAME, "mlflow_run_id": ""} | plan.provenance()
    save(f"{store.url}/{run.prefix}/{DIRECTORY}", recipe, dataset, model, descent.optimizer, state)
    metrics = {"step": STEPS, "score": 0.0}
    run.write(SNAPSHOT, {"checkpoint_results": [{"checkpoint_dir_name": DIRECTORY, "metrics": metrics}]})


def found(store: Store) -> dict[str, Any]:
    """What this release reads in the artefacts of `store`."""
    dataset = Dataset.open(store, "tiny")
    folder = Path(store.url) / "runs" / NAME / DIRECTORY
    inference = Inference.load(folder)
    recipe = parse(Recipe, read_yaml(folder / "recipe.yaml"))
    model = build_model(recipe, dataset)
    descent = Descent(model, recipe.train, 1)
    state = checkpoint.restore(folder, model=model, optimizer=descent.optimizer)
    moments = [one["exp_avg"].abs().sum() for one in descent.optimizer.state.values()]
    return {
        "version": dataset.version,
        "digest": dataset.digest,
        "counts": dataset.counts,
        "captions": json.loads(dataset.records(["captions"], "test")["captions"][0].as_py()),
        "ledger": dict(sorted(Counter(dataset.ledger(["status"])["status"].to_pylist()).items())),
        "step": state["step"],
        "queue": model.queue.state()["sample_id"].tolist(),
        "moments": float(torch.stack(moments).sum()),
        "image": inference.image_vectors(pixels())[0].tolist(),
        "text": inference.text_vectors([TEXT])[0].tolist(),
    }


if __name__ == "__main__":
    make(HERE / sys.argv[1])
