"""`python -m tests.pipelines.score_table`: trains models on a survey that is hard to tell and stores what each says of
its test images, beside this file, as a retraining stores it: what the gate is tried on.

The champion is a model after some steps, and the challengers are what it was earlier and what became of it when its
training went on; `equal` is the same recipe begun by another seed. That they were trained is real, what they saw is
drawn: coloured noise in the light of its place and its event, which hides the animals' colours.
"""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from infra.storage import Store, open_store
from pipelines.evaluate.against import answers
from pipelines.evaluate.flow import examined
from pipelines.evaluate.gate import Answers
from pipelines.recipe import Recipe
from pipelines.train.descent import Descent
from pipelines.train.plan import TrainingPlan, build_model
from tests.pipelines.arriving import COLOURS, NAMES, images, label
from tests.pipelines.retraining import parsed, version_of
from tests.pipelines.road import descended, run_of

TABLE = Path(__file__).with_suffix(".parquet")
PLACES = 100
LIGHT = {"location": 25, "seq_id": 20}
"""How far the light of a place, and of an event, lies from that of others."""
RATE = {"epochs": 20, "optimizer": {"learning_rate": 6e-5}}
STEPS = {"worse": 50, "champion": 70, "slightly": 75, "clearly": 140}
OTHER_SEED = {"equal": 48}
FACTS = ("image", "place", "event", "species")


def arrive_alike(store: Store) -> None:
    """Writes the survey."""
    said = images("drawn", PLACES, NAMES)
    for n, one in enumerate(said):
        light = sum(np.random.default_rng([*map(ord, one[of])]).normal(0, far, 3) for of, far in LIGHT.items())
        noise = np.random.default_rng(n).normal(0, 40, (32, 32, 3))
        colour = 50 + 0.6 * np.array(COLOURS[one["species"]])
        stream = io.BytesIO()
        Image.fromarray((noise + colour + light).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        store.put(one["file_name"], stream.getvalue())
    label(store, said)


def trained(recipe: Recipe, plan: TrainingPlan, seed: int, steps: dict[str, int]) -> Iterator[str]:
    """Runs of the models that so many steps of one training make, by name."""
    torch.manual_seed(seed)
    model = build_model(recipe, plan.open())
    plan.initialise(model)
    descent, done = Descent(model, recipe.train, plan.total_samples), 0
    for name, step in steps.items():
        descended(recipe, plan, descent, done, step)
        done = step
        yield run_of(recipe, model, f"{name}-0000-0").name


def said(recipe: Recipe, run: str) -> Answers:
    """Of the test images."""
    subject, _ = examined(recipe.compute.store(), run, ())
    return answers(subject, [*range(len(subject.records))])


def make(folder: str) -> pa.Table:
    """A row a test image: what it shows, where, and whether each model named it rightly and how sure it was."""
    arrive_alike(open_store(f"{folder}/drawn"))
    recipe = parsed(folder, "drawn", train=RATE)
    plan = TrainingPlan.of(recipe, version_of(recipe))
    runs = [*trained(recipe, plan, 0, STEPS), *trained(recipe, plan, 1, OTHER_SEED)]
    found = {run.partition("-")[0]: said(recipe, run) for run in runs}
    columns = {name: getattr(found["champion"], name) for name in FACTS}
    for who, one in found.items():
        columns |= {f"{who}_right": one.right.astype(np.int8), f"{who}_confidence": one.confidence.astype(np.float32)}
    return pa.table(columns)


def stored(who: str) -> Answers:
    """What a model said."""
    table = pq.read_table(TABLE)
    right, confidence = (table[f"{who}_{of}"].to_numpy().astype(float) for of in ("right", "confidence"))
    image, place, event, species = (table[name].to_pylist() for name in FACTS)
    return Answers(image, place, event, species, right, confidence)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        pq.write_table(make(temporary), TABLE, compression="zstd")
