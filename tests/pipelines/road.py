"""A tiny recipe of the whole road, and verbs run as the console script runs them."""

import io
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from ruamel.yaml import YAML

from infra.storage import Store, open_store
from pipelines.__main__ import main
from pipelines.dataset import Dataset
from pipelines.demo.survey import DETECTOR_KEY, IMAGES
from pipelines.prepare import flow, items
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.train.descent import Descent
from pipelines.train.lanes import batches
from pipelines.train.plan import TrainingPlan, build_model
from pipelines.train.runs import SNAPSHOT, Run
from tests.pipelines.surveys import write_survey
from xmodal import checkpoint
from xmodal.model import CrossModalModel
from xmodal.settings import dump_yaml, merge, parse

TENSORS = ("model.safetensors", "key.safetensors", "queue.safetensors", "optimizer.safetensors")
_MODEL = {
    "embed_dim": 16,
    "image": {"kind": "vit", "image_size": 32, "width": 32, "depth": 1, "heads": 2},
    "text": {"kind": "transformer", "width": 32, "depth": 1, "heads": 2},
    "momentum": {"coefficient": 0.9},
    "queue": {"size": 32},
    "tasks": {"itc": {"fn_policy": "mask"}, "itm": {}, "lm": {"weight": 0.5}},
}
_TRAIN = {"epochs": 2, "global_batch": 14, "lanes": 2, "optimizer": {"learning_rate": 1e-3}}


@dataclass(frozen=True)
class Ended:
    """How a verb ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that a user's mistake ends in; progress and warnings may stand before it."""
        *before, last = self.err.splitlines()
        others = [line for line in before if "/" not in line and not line.startswith("warning: ")]
        assert last.startswith("xmodal: ") and not others, self.err
        return last


def xmodal(*words: str | Path) -> Ended:
    """`xmodal WORDS` in this process. What would be a traceback is raised."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["xmodal", *map(str, words)]):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def trained_run(ended: Ended) -> str:
    """The run that `train` says it trained."""
    (name,) = [line.removeprefix("run ") for line in ended.out.splitlines() if line.startswith("run ")]
    return name


def document(archive: str, root: str, **changes: Any) -> dict[str, Any]:
    """The tiny recipe over a survey that `write_survey` wrote; `changes` are merged into it."""
    overlay = {"kind": "megadetector", "path": DETECTOR_KEY, "images_prefix": IMAGES}
    survey = {"name": "tiny", "archive": archive, "source": {"kind": "camtrap_dp"}, "overlays": [overlay]}
    data = {"name": "tiny", "surveys": [survey], "max_bad_share": 0.2, "pixels": {"size": 32}, "generated": True}
    where = {"root": root, "workers": 2}
    whole = {"name": "tiny", "data": data, "model": _MODEL, "train": _TRAIN, "compute": where}
    return merge(whole, changes)


def write_recipe(path: Path, archive: str, root: str, **changes: Any) -> Path:
    with path.open("w") as file:
        YAML().dump(document(archive, root, **changes), file)
    return path


def contents(store: Store) -> dict[str, str]:
    """Key to etag of everything a store holds, locks apart."""
    return {entry.key: entry.etag for entry in store.list() if not entry.key.startswith("locks/")}


@contextmanager
def several_items() -> Iterator[None]:
    """Items of at most 24 files, so that prepare has work to share although the survey is tiny."""
    with patch.object(items, "cut", partial(items.cut, most=24)):
        yield


def prepared(root: str, **changes: Any) -> Recipe:
    """The tiny survey and its dataset below `root`, made in this process; returns the recipe."""
    write_survey(open_store(f"{root}/archive"))
    recipe = parse(Recipe, document(f"{root}/archive", root, **changes))
    flow.prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    return recipe


def flip(store: Store, key: str) -> None:
    """Changes one byte in the middle of an object."""
    data = bytearray(store.read(key))
    data[len(data) // 2] ^= 0x40
    store.put(key, bytes(data))


def tensors(store: Store, directory: str) -> dict[str, bytes]:
    """The tensor files of a checkpoint."""
    return {name: store.read(f"{directory}/{name}") for name in TENSORS}


def history(store: Store, directory: str, name: str) -> list[float]:
    """One curve of a checkpoint."""
    points = json.loads(store.read(f"{directory}/state.json"))["history"]
    return [point[name] for point in points if name in point]


def last(run: Run) -> str:
    """Directory of the newest checkpoint."""
    return f"{run.prefix}/{run.saved()[0].directory}"


def assert_same_end(run: Run, other: Run) -> None:
    """The last checkpoints hold the same bytes: weights, key encoder, queue and optimizer."""
    assert run.name == other.name and run.saved()[0].step == other.saved()[0].step
    ours, theirs = tensors(run.store, last(run)), tensors(other.store, last(other))
    assert [name for name in ours if ours[name] != theirs[name]] == []
    for curve in ("train/loss", "train/itm", "val/score"):
        assert history(run.store, last(run), curve) == history(other.store, last(other), curve)


def copy(source: Store, target: Store) -> None:
    """Everything `source` holds, locks apart."""
    for key in contents(source):
        target.put(key, source.read(key))


def stepped(
    recipe: Recipe, plan: TrainingPlan, steps: int, stops: Sequence[int] = ()
) -> tuple[CrossModalModel, Descent, list[float]]:
    """The first steps of a run, in this process alone: model, optimizer, and the loss of each step. At every stop all
    that there is goes into a checkpoint, and what is restored from it goes on."""
    torch.manual_seed(recipe.train.seed)
    torch.set_num_threads(1)
    model = build_model(recipe, plan.open())
    plan.initialise(model)
    descent, losses = Descent(model, recipe.train, plan.total_samples), list[float]()
    for begin, end in pairwise([0, *stops, steps]):
        if begin:
            model, descent = restored(recipe, plan, model, descent)
        losses += descended(recipe, plan, descent, begin, end)
    return model, descent, losses


def descended(recipe: Recipe, plan: TrainingPlan, descent: Descent, begin: int, end: int) -> list[float]:
    """Losses of the steps from `begin` to `end`."""
    losses, model, reader = list[float](), descent.model, plan.lanes().open()
    blocks = (reader.block(item) for item in plan.order.plan(recipe.train.epochs, 1, begin))
    for batch in islice(batches(blocks, plan.order, plan.reader, 0, 1), end - begin):
        found = descent.gradients(model, batch)
        losses.append(sum(weight * float(found[name]) for name, weight in model.weights.items()))
        descent.step(batch.step)
    return losses


def restored(
    recipe: Recipe, plan: TrainingPlan, model: CrossModalModel, descent: Descent
) -> tuple[CrossModalModel, Descent]:
    """What a checkpoint of both makes of others that begin with other weights and draws."""
    with tempfile.TemporaryDirectory() as folder:
        save(folder, recipe, plan.open(), model, descent.optimizer, {})
        torch.manual_seed(recipe.train.seed + 1)
        other = build_model(recipe, plan.open())
        its = Descent(other, recipe.train, plan.total_samples)
        checkpoint.restore(folder, model=other, optimizer=its.optimizer)
        checkpoint.restore_rng(folder, 0, 1)
    return other, its


def save(
    folder: str,
    recipe: Recipe,
    dataset: Dataset,
    model: CrossModalModel,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """A checkpoint as the only worker of a run writes it."""
    checkpoint.save(
        folder,
        model=model,
        queue=model.queue.state(),
        optimizer=optimizer,
        state=state,
        recipe_yaml=dump_yaml(recipe),
        wordpiece=dataset.wordpiece(),
        attributes_json=json.dumps({"attributes": dataset.attributes()}),
        rng=[checkpoint.rng_state()],
    )


def untrained_run(recipe: Recipe, name: str = "untrained-0000-0") -> Run:
    """A run whose one checkpoint holds the model before its first step."""
    return run_of(recipe, build_model(recipe, Dataset.open(recipe.compute.store(), recipe.data.name)), name)


def run_of(recipe: Recipe, model: CrossModalModel, name: str, mlflow_run: str = "") -> Run:
    """A run whose one checkpoint holds `model`, as Ray Train leaves it in the store."""
    store = recipe.compute.store()
    dataset = Dataset.open(store, recipe.data.name)
    plan, run, directory = TrainingPlan.of(recipe, dataset), Run(store, name), "checkpoint-0000000000"
    state = {"step": 0, "history": [], "world_size": 1, "run": name, "mlflow_run_id": mlflow_run} | plan.provenance()
    with tempfile.TemporaryDirectory() as folder:
        save(folder, recipe, dataset, model, torch.optim.AdamW(model.parameters()), state)
        for file in Path(folder).iterdir():
            store.put(f"{run.prefix}/{directory}/{file.name}", file.read_bytes())
    metrics = {"step": 0, "score": 0.0}
    run.write(SNAPSHOT, {"checkpoint_results": [{"checkpoint_dir_name": directory, "metrics": metrics}]})
    return run
