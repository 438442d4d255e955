"""Enhancers: modules between an encoder and its head, applied in the order of the recipe's list.

The settings' `build(width)` gives a module `(tokens (B, T, W), mask (B, T) bool, True at real tokens) -> (B, T, W)`
with `metrics()`: what training logs of it by name, empty where there is nothing to say. Head, fusion encoder and
captioner see the enhanced tokens; the key encoder has the average of the same modules. `clip_guided` alone gives one
token less than it takes, `project` alone another width.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from xmodal.enhance.clip_guided import ClipGuided
from xmodal.enhance.project import Project
from xmodal.enhance.residual_attention import ResidualAttention, ResidualMask
from xmodal.enhance.residual_mlp import ResidualMLP
from xmodal.enhance.self_guided import SelfGuided
from xmodal.enhance.transformer import Transformer

EnhancerSettings = Annotated[
    ResidualAttention | ResidualMask | ResidualMLP | SelfGuided | ClipGuided | Project | Transformer,
    Field(discriminator="kind"),
]


def build(settings: Sequence[EnhancerSettings], width: int) -> nn.ModuleList:
    """The enhancers of a tower whose tokens are `width` wide, in order. Raises SettingsError where one does not fit it.

    Their weights come from a stream of their own, so all others start as they do without them: arms of an experiment
    then differ in nothing else.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, ())))
        return nn.ModuleList(one.build(after(settings[:n], width)) for n, one in enumerate(settings))


def after(settings: Sequence[EnhancerSettings], width: int) -> int:
    """Width of the tokens behind all of them."""
    for one in settings:
        width = one.after(width)
    return width


__all__ = [
    "ClipGuided",
    "EnhancerSettings",
    "Project",
    "ResidualAttention",
    "ResidualMLP",
    "ResidualMask",
    "SelfGuided",
    "Transformer",
    "after",
    "build",
]
