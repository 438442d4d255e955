"""One run: a recipe trained in this process by the order, the reader and the step of the workers, without Ray."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from pipelines.recipe import Recipe
from pipelines.train.descent import Descent, check_finite
from pipelines.train.lanes import ReadLane, batches
from pipelines.train.plan import TrainingPlan, build_model
from xmodal.batch import Batch
from xmodal.model import CrossModalModel


def fit(recipe: Recipe, plan: TrainingPlan, device: str, strangers: bool = False) -> CrossModalModel:
    """The model after the last step of `plan`, the recipe's own, in evaluation mode. With `strangers` the captions to
    be written are those of the next image in the batch. Raises NonFinite."""
    torch.manual_seed(recipe.train.seed)
    model = build_model(recipe, plan.open()).to(device)
    plan.initialise(model)
    descent = Descent(model, recipe.train, plan.total_samples)
    model.train()
    for batch in _batches(plan):
        batch = replace(batch, caption=batch.caption.roll(int(strangers), 0))
        shares = descent.gradients(model, batch.to(device))
        check_finite({name: share.item() for name, share in shares.items()}, batch.step)
        descent.step(batch.step)
    return model.eval()


def _batches(plan: TrainingPlan) -> Iterator[Batch]:
    source = plan.lanes()
    lane = ReadLane(source)
    blocks = (lane.block(item) for item in plan.order.plan(plan.epochs, source.chunk(plan.epochs), 0))
    return batches(blocks, plan.order, plan.reader, 0, 1)
