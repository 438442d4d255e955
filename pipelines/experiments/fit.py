"""One run: a recipe trained in this process by the order, the reader and the step of the workers, without Ray."""

from collections.abc import Callable, Iterator

import torch

from pipelines.dataset import Dataset
from pipelines.recipe import Recipe
from pipelines.train.lanes import ReadLane, batches
from pipelines.train.loop import check_finite, learning_rate, parameter_groups, rate_factors
from pipelines.train.plan import TrainingPlan, build_model
from xmodal.batch import Batch
from xmodal.model import CrossModalModel


def fit(recipe: Recipe, dataset: Dataset, device: str, seen: Callable[[int], None]) -> CrossModalModel:
    """The model after the last step, in evaluation mode. `seen` is told the samples so far. Raises NonFinite."""
    plan, settings = TrainingPlan.of(recipe, dataset), recipe.train.optimizer
    torch.manual_seed(recipe.train.seed)
    model = build_model(recipe, dataset).to(device)
    plan.initialise(model)
    groups, factors = parameter_groups(model, settings), rate_factors(settings)
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas)
    model.train()
    for batch in _batches(plan):
        rate = learning_rate(settings, batch.step * recipe.train.global_batch, plan.total_samples)
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        losses = model(batch.to(device))
        check_finite({name: loss.item() for name, loss in losses.items()}, batch.step)
        total = torch.stack([model.weights[name] * loss for name, loss in losses.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        model.after_step(batch.step)
        seen((batch.step + 1) * recipe.train.global_batch)
    return model.eval()


def _batches(plan: TrainingPlan) -> Iterator[Batch]:
    source = plan.lanes()
    lane = ReadLane(source)
    blocks = (lane.block(item) for item in plan.order.plan(plan.epochs, source.chunk(), 0))
    return batches(blocks, plan.order, plan.reader, 0, 1)
