"""FeatureQueue: the last K keys of both modalities with the ids and attribute codes that say how they are related.

Two queues in lock-step (row i of every column is one image-text pair), as in ALBEF (Li et al., NeurIPS 2021, section
3.2) and MoCo (He et al., CVPR 2020, section 3.1), with three differences: it starts empty and its rows carry a
`valid` flag, because K random vectors act as K real negatives from the first step on; any K and any number of new rows
fit, so a change of the number of workers is no special case; and it is no buffer of a module, because every rank
pushes the same gathered rows and so holds the same queue without DistributedDataParallel copying it.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from xmodal.settings import Settings


class Refresh(Settings):
    """Residual attention refresh of stored keys (see `xmodal.refresh`)."""

    every: int = Field(default=8, ge=1)
    """Steps of a window (R): at its end stored keys are moved by what the key encoder moved in it."""
    temperature: float = Field(default=0.05, gt=0)
    """tau_r, divisor of similarities between stored keys and the step's rows."""


class QueueSettings(Settings):
    """Length of the queue, and what becomes of its rows."""

    size: int = Field(default=4096, ge=0)
    """Keys kept of each modality (K, `queue_size`); 0 = in-batch candidates only."""
    refresh: Refresh | None = None
    """Refresh of stored keys as the key encoder moves; without it they stay as they were written."""

    @model_validator(mode="after")
    def _something_to_refresh(self) -> "QueueSettings":
        if self.refresh is not None and self.size == 0:
            raise ValueError("refresh moves stored keys, and size 0 stores none")
        return self

    def build(self, embed_dim: int, attributes: int) -> "FeatureQueue":
        return FeatureQueue(self.size, embed_dim, attributes)


@dataclass(frozen=True)
class Facts:
    """What is known of N pairs: it decides which of them are related."""

    sample_id: Tensor
    """(N,) int64."""
    caption_id: Tensor
    """(N,) int64."""
    sequence_id: Tensor
    """(N,) int64, -1 = none."""
    image_codes: Tensor
    """(N, A) int32, -1 = unspecified."""
    text_codes: Tensor
    """(N, A) int32, -1 = unspecified."""
    valid: Tensor
    """(N,) bool; a row that is not valid is a candidate for nothing."""

    def __len__(self) -> int:
        return len(self.valid)

    def columns(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, rows: Tensor | slice) -> Self:
        """The rows that an index, a mask or a slice selects."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})


@dataclass(frozen=True)
class Keys(Facts):
    """N keys of both modalities with their facts: what queries are compared with, in a gathered batch and in the queue
    alike."""

    image: Tensor
    """(N, D) float32 unit vectors of the image key encoder."""
    text: Tensor
    """(N, D) float32 unit vectors of the text key encoder."""

    def facts_before(self, other: "Keys") -> Facts:
        """(N + M) rows of facts: these, then the other's."""
        return Facts(**{f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(Facts)})


class FeatureQueue:
    """Ring of K rows. Row number n ever pushed lies in slot n mod K; `total` counts them all, `filled` those
    that are still there."""

    def __init__(self, size: int, embed_dim: int, attributes: int):
        self.size, self.total, self.filled = size, 0, 0
        self.keys = Keys(
            image=torch.zeros(size, embed_dim),
            text=torch.zeros(size, embed_dim),
            sample_id=torch.full((size,), -1),
            caption_id=torch.full((size,), -1),
            sequence_id=torch.full((size,), -1),
            image_codes=torch.full((size, attributes), -1, dtype=torch.int32),
            text_codes=torch.full((size, attributes), -1, dtype=torch.int32),
            valid=torch.zeros(size, dtype=torch.bool),
        )
        self.step_written = torch.full((size,), -1)

    def __len__(self) -> int:
        """Rows filled."""
        return self.filled

    @property
    def valid(self) -> Tensor:
        """(K,) bool, True where a key has been written."""
        return self.keys.valid

    def push(self, keys: Keys, step: int) -> None:
        """Appends the valid rows of `keys` in their order, the oldest rows leave; of more than K the last K stay."""
        new = keys.take(keys.valid)
        self.total += len(new)
        self.filled = min(self.filled + len(new), self.size)
        kept = new.take(slice(max(0, len(new) - self.size), None))
        slots = self._slots(len(kept))
        for name, column in self.keys.columns().items():
            column[slots] = getattr(kept, name).detach().to(column)
        self.step_written[slots] = step

    def _slots(self, count: int) -> Tensor:
        """Slots of the newest `count` rows, oldest of them first."""
        newest = torch.arange(self.total - count, self.total, device=self.step_written.device)
        return newest % max(1, self.size)

    def ordered(self) -> tuple[Keys, Tensor]:
        """The filled rows and the steps that wrote them, oldest first."""
        slots = self._slots(len(self))
        return self.keys.take(slots), self.step_written[slots]

    def age(self, step: int) -> int:
        """Steps before `step` in which the oldest row was written; 0 for an empty queue."""
        oldest = self.step_written[self._slots(self.filled)[:1]]
        return step - int(oldest) if len(oldest) else 0

    def resize(self, size: int) -> None:
        """Changes K in place; the newest min(K, filled) rows stay, in order."""
        rows, steps = self.ordered()
        kept = slice(max(0, len(rows) - size), None)
        fresh = FeatureQueue(size, self.keys.image.shape[1], self.keys.image_codes.shape[1])
        fresh.to(self.step_written.device)
        fresh.total, fresh.filled = self.total, len(steps[kept])
        slots = fresh._slots(fresh.filled)
        for name, column in fresh.keys.columns().items():
            column[slots] = getattr(rows, name)[kept]
        fresh.step_written[slots] = steps[kept]
        self.__dict__.update(fresh.__dict__)

    def clear(self) -> None:
        """Forgets every row: what a changed vocabulary or key encoder asks for."""
        self.keys.valid.fill_(False)
        self.step_written.fill_(-1)
        self.total = self.filled = 0

    def to(self, device: torch.device | str) -> None:
        self.keys = replace(self.keys, **{name: column.to(device) for name, column in self.keys.columns().items()})
        self.step_written = self.step_written.to(device)

    def state(self) -> dict[str, Tensor]:
        """Every column, `step_written` and `total`: with `load`, the whole queue bit by bit."""
        return self.keys.columns() | {"step_written": self.step_written, "total": torch.tensor(self.total)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes over a `state()`. Raises ValueError naming the column where K, D or A differ."""
        columns = self.keys.columns() | {"step_written": self.step_written}
        for name, column in columns.items():
            if state[name].shape != column.shape:
                held, asked = tuple(state[name].shape), tuple(column.shape)
                raise ValueError(f"queue column {name} has shape {held}, this model's queue has {asked}")
        for name, column in columns.items():
            column.copy_(state[name])
        self.total, self.filled = int(state["total"]), int(self.valid.sum())
