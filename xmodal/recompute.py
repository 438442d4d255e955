"""Gradient checkpointing: activations of blocks are computed again in the backward instead of being kept (Chen et al.,
arXiv 1604.06174). Losses and gradients stay what they are; memory falls to what blocks hand on, for one forward more.
"""

from collections.abc import Iterator

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from xmodal.model import CrossModalModel


def recompute(model: CrossModalModel) -> None:
    """Wraps, in place, the blocks of the query encoders and of the tasks. What is saved of the model stays the same."""
    averages = {id(one) for key in model.key_encoders.values() for one in key.modules()}  # these keep nothing anyway
    parts = [part for part in (*model.query.modules(), *model.tasks.modules()) if id(part) not in averages]
    for blocks in list(stacks(parts)):
        for place, block in enumerate(blocks):
            blocks[place] = checkpoint_wrapper(block)


def stacks(parts: list[nn.Module]) -> Iterator[nn.ModuleList]:
    """The innermost lists of modules: blocks of one encoder, one after the other."""
    for part in parts:
        if isinstance(part, nn.ModuleList) and sum(isinstance(one, nn.ModuleList) for one in part.modules()) == 1:
            yield part
