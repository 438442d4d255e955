"""What one training worker holds in memory, by part, before any compute is spent.

Weights, gradients, AdamW's two moments, key encoders and queue are counted. Activations, what a forward keeps for its
backward, are counted over forwards of 2, 4 and 8 rows of the longest texts on the CPU, in the run's own precision, and
carried on by their square: b rows against the n of the global batch keep c0 + c1 b + c2 b n. What a backward holds
for a moment beside them, a framework's own and fragments are in no figure: it is the least that a device must have.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper

from pipelines.dataset import Dataset
from pipelines.recipe import Recipe
from pipelines.train.descent import Descent
from pipelines.train.plan import build_model, sample_reader
from pipelines.train.samples import SampleReader
from pipelines.train.settings import TrainSettings
from xmodal.batch import Batch
from xmodal.model import CrossModalModel
from xmodal.recompute import recompute

ROWS = (2, 4, 8)


def worker_memory(recipe: Recipe, dataset: Dataset) -> dict[str, int]:
    """Bytes of each part, where the fewest workers share the batch. Raises SettingsError where an encoder cannot be
    loaded."""
    workers, train = recipe.compute.world_sizes[0], recipe.train
    rows = train.global_batch // workers // train.accumulate
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe, dataset)
        if recipe.compute.gradient_checkpointing:
            recompute(model)
        kept_by_rows = activations(model, train, sample_reader(recipe, dataset), rows, rows * workers)
    return standing(model, workers) | {"activations": kept_by_rows}


def standing(model: CrossModalModel, workers: int) -> dict[str, int]:
    """Bytes that stay from step to step."""
    keys = [one for key in model.key_encoders.values() for one in (*key.parameters(), *key.buffers())]
    held, gradients = {id(one) for one in keys}, _bytes(one for one in model.parameters() if one.requires_grad)
    return {
        "weights": _bytes(one for one in (*model.parameters(), *model.buffers()) if id(one) not in held),
        "gradients": gradients,
        "gradients being added up": gradients if workers > 1 else 0,
        "optimizer": 2 * gradients,
        "key encoders": _bytes(keys),
        "queue": _bytes(model.queue.state().values()) // (workers if model.settings.queue.sharded else 1),
    }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(one.nbytes for one in tensors)


def activations(model: CrossModalModel, train: TrainSettings, reader: SampleReader, rows: int, everyone: int) -> int:
    """Bytes that a forward of `rows` rows keeps, of `everyone` in all workers."""
    found = [kept(model, train, longest_rows(reader, few)) for few in ROWS]
    square, slope, base = np.polyfit(ROWS, found, 2)
    return max(0, round(base + slope * rows + square * rows * everyone))


def kept(model: CrossModalModel, train: TrainSettings, batch: Batch) -> int:
    """Bytes that the forward of `batch` keeps beyond what the model and the batch hold anyway."""
    own = [*model.parameters(), *model.buffers(), *model.queue.state().values(), *batch.columns().values()]
    known = {one.untyped_storage().data_ptr() for one in own}
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage
        return tensor

    def enter(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for one in inputs:
            if isinstance(one, Tensor):
                keep(one)

    handles = [one.register_forward_pre_hook(enter) for one in model.modules() if isinstance(one, CheckpointWrapper)]
    descent = Descent(model, train, train.global_batch)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), descent.autocast:
        model.train()(batch)
    model.fresh_keys.clear()
    for handle in handles:
        handle.remove()
    return sum(storage.nbytes() for storage in found.values())


def longest_rows(reader: SampleReader, rows: int) -> Batch:
    """Rows of the shapes that `reader` makes, texts and captions as long as they come."""
    image, text = (np.ones((rows, *side.shape), side.dtype) for side in (reader.images, reader.texts))
    row = torch.arange(rows)
    codes = torch.full((rows, reader.attributes), -1, dtype=torch.int32)
    return Batch(
        image=reader.images.tensor(image),
        text=reader.texts.tensor(text),
        text_mask=torch.ones(rows, reader.texts.shape[0], dtype=torch.bool),
        caption=torch.ones(rows, reader.caption_length, dtype=torch.int64),
        sample_id=row,
        caption_id=row,
        sequence_id=torch.full((rows,), -1),
        image_codes=codes,
        text_codes=codes,
        valid=torch.ones(rows, dtype=torch.bool),
        slot=row,
        step=0,
    )


def table(parts: dict[str, int]) -> list[str]:
    """A small table."""
    rows = parts | {"together": sum(parts.values())}
    lines = [f"  {name:<26}{size / 1e6:>12,.1f} MB" for name, size in rows.items()]
    return ["memory of one worker at least, texts as long as they come:", *lines]
