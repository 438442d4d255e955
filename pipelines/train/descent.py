"""One AdamW step on the weighted losses: gradients part by part, parameter groups, the schedule of the rate, the clip,
what comes after."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.errors import NonFinite
from pipelines.train.settings import OptimizerSettings, TrainSettings
from xmodal.batch import Batch
from xmodal.model import CrossModalModel

TEXT_ENCODER = "query.text.encoder."


class Descent:
    """A model's optimizer over a run of `total` samples."""

    def __init__(self, model: CrossModalModel, settings: TrainSettings, total: int):
        """`model` lies on the device that it will be trained on."""
        self.model, self.settings, self.parts = model, settings.optimizer, settings.accumulate
        self.batch, self.total = settings.global_batch, total
        groups, self.factors = parameter_groups(model, self.settings), rate_factors(self.settings)
        rate, betas = self.settings.learning_rate, self.settings.betas
        self.optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)
        device, half = model.temperature.value.device.type, settings.precision == "bf16"
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=half)

    def gradients(self, forward: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The gradient of this worker's share of a step by `forward`, the model as it was prepared for the group.

        Returns this worker's shares of the global means of the losses, and of what tasks tell beside them. In the last
        batch of an epoch parts may differ by some rows of padding; each weighs the same.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = zip(batch.split(self.parts), self._adding(forward), strict=True)
        shares = [self._part(forward, part, adds) for part, adds in parts]
        return {name: torch.stack([part[name] for part in shares]).mean(0) for name in shares[0]}

    def _adding(self, forward: nn.Module) -> Iterator[AbstractContextManager[Any]]:
        """Workers of a group add up their gradients in the last part alone."""
        quiet = getattr(forward, "no_sync", nullcontext)
        yield from (quiet() for _ in range(self.parts - 1))
        yield nullcontext()

    def _part(self, forward: nn.Module, part: Batch, adds: AbstractContextManager[Any]) -> dict[str, Tensor]:
        with adds:
            with self.autocast:
                losses = forward(part)
            total = torch.stack([self.model.weights[name] * loss for name, loss in losses.items()]).sum()
            (total / self.parts).backward()
        return {name: one.detach() for name, one in (losses | self.model.figures).items()}

    def step(self, step: int) -> Tensor:
        """Optimizer step `step` (0-based) by the gradients: the model moves and does what comes after a step.

        Returns the norm of the gradient before its clip, on the model's device.
        """
        rate = self.rate(step)
        for group, factor in zip(self.optimizer.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.model.after_step(step)
        return norm

    def rate(self, step: int) -> float:
        """The learning rate of step `step`."""
        return learning_rate(self.settings, step * self.batch, self.total)


def check_finite(losses: dict[str, float], step: int) -> None:
    """Raises NonFinite naming the tasks whose loss is not a finite number."""
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise NonFinite(f"the loss of {', '.join(bad)} is not finite at step {step}; the last checkpoint stays")


def learning_rate(settings: OptimizerSettings, samples: int, total: int) -> float:
    """Linear warm-up, then the decay of the settings, as a function of samples seen of `total`."""
    warmup = settings.warmup_fraction * total
    if samples < warmup:
        return settings.learning_rate * samples / warmup
    progress = min(1.0, (samples - warmup) / max(1.0, total - warmup))
    return settings.learning_rate * settings.decayed(progress)


def parameter_groups(model: torch.nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Matrices decay, vectors and scalars do not; two groups, and two more of the text encoder where its rate is its
    own, in the order of `rate_factors`."""
    own = settings.text_factor != 1.0
    kinds = [(text, vector) for text in ((False, True) if own else (False,)) for vector in (False, True)]
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {kind: [] for kind in kinds}
    for name, one in model.named_parameters():
        if one.requires_grad:
            groups[own and name.startswith(TEXT_ENCODER), one.ndim < 2].append(one)
    decay = {False: settings.weight_decay, True: 0.0}
    return [{"params": members, "weight_decay": decay[vector]} for (_, vector), members in groups.items()]


def rate_factors(settings: OptimizerSettings) -> list[float]:
    """Factor of the learning rate of each parameter group."""
    return [1.0, 1.0] if settings.text_factor == 1.0 else [1.0, 1.0, settings.text_factor, settings.text_factor]
