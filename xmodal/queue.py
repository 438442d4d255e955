"""FeatureQueue: the last K keys of both modalities with the ids and attribute codes that say how they are related.

Two queues in lock-step (row i of every column is one image-text pair), as in ALBEF (Li et al., NeurIPS 2021, section
3.2) and MoCo (He et al., CVPR 2020, section 3.1), with three differences: it starts empty and its rows carry a
`valid` flag, because K random vectors act as K real negatives from the first step on; any K and any number of new rows
fit, so a change of the number of workers is no special case; and it is no buffer of a module, because every rank
pushes the same gathered rows and so holds the same queue without DistributedDataParallel copying it. Or each rank
keeps its share of these rows: `ShardedQueue`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from xmodal import distributed, products
from xmodal.settings import Settings

CHUNK = 8192
"""Rows of a sharded queue that are put together at a time: what bounds memory."""


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
    sharded: bool = False
    """Whether each worker keeps K / S of the rows instead of all: for a queue that does not fit or costs too much.
    Losses are the same; queries travel to the rows (see docs/method.md)."""
    keys: Literal["fp32", "bf16"] = "fp32"
    """How keys travel and are stored. bf16 takes half the bytes and rounds each number of a key to 8 significant bits;
    cosines, still computed in float32, are then off by 8e-5 on average (D = 256) and by 0.002 at most."""

    @model_validator(mode="after")
    def _fits(self) -> "QueueSettings":
        if self.refresh is not None and self.size == 0:
            raise ValueError("refresh moves stored keys, and size 0 stores none")
        if self.sharded and self.size == 0:
            raise ValueError("sharded shares out stored keys, and size 0 stores none")
        if self.refresh is not None and self.keys == "bf16":
            raise ValueError("refresh may move keys by less than keys bf16 can tell apart; take fp32")
        return self

    def build(self, embed_dim: int, attributes: int) -> "FeatureQueue":
        queue = ShardedQueue if self.sharded else FeatureQueue
        return queue(self.size, embed_dim, attributes, PRECISIONS[self.keys])


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

    def to(self, device: torch.device | str) -> Self:
        return type(self)(**{name: column.to(device) for name, column in self.columns().items()})


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


@dataclass(frozen=True)
class Precision:
    """How key vectors are stored and compared."""

    dtype: torch.dtype
    product: Callable[[Tensor, Tensor], Tensor]
    """(M, D) vectors, (C, D) stored keys -> (M, C) float32."""


FLOAT32 = Precision(torch.float32, products.plain)
PRECISIONS = {"fp32": FLOAT32, "bf16": Precision(torch.bfloat16, products.widened)}


class FeatureQueue:
    """Ring of K rows. Row number n ever pushed lies in slot n mod K; `total` () int64 counts them all.

    `keys` are the rows held here, those of slots rank, rank + of, rank + 2 of ...: all of them, where the queue is
    whole. `step_written` (K,) is always of all slots. How many rows a push has is known to the device alone, and the
    host never asks within a step: behind the last row lies one that nobody reads, where goes what is not kept."""

    rank, of = 0, 1

    def __init__(self, size: int, embed_dim: int, attributes: int, precision: Precision = FLOAT32):
        self.size, self.precision = size, precision
        self.total, self._steps = torch.tensor(0), torch.full((size + 1,), -1)
        self.held = len(range(self.rank, size, self.of))
        rows = self.held + 1
        self._rows = Keys(
            image=torch.zeros(rows, embed_dim, dtype=precision.dtype),
            text=torch.zeros(rows, embed_dim, dtype=precision.dtype),
            sample_id=torch.full((rows,), -1),
            caption_id=torch.full((rows,), -1),
            sequence_id=torch.full((rows,), -1),
            image_codes=torch.full((rows, attributes), -1, dtype=torch.int32),
            text_codes=torch.full((rows, attributes), -1, dtype=torch.int32),
            valid=torch.zeros(rows, dtype=torch.bool),
        )

    @property
    def keys(self) -> Keys:
        """The rows held here, as they lie."""
        return self._rows.take(slice(0, self.held))

    @property
    def step_written(self) -> Tensor:
        """(K,) int64, the step that wrote each slot; -1 = none did."""
        return self._steps[: self.size]

    def __len__(self) -> int:
        """Rows filled."""
        return int((self.step_written >= 0).sum())

    @property
    def valid(self) -> Tensor:
        """(K,) bool of the rows held here, True where a key has been written."""
        return self.keys.valid

    def before(self, step: int) -> Tensor:
        """(K,) bool of the rows held here, True where a key was written before `step`."""
        return self.valid & (self.step_written[self.rank :: self.of] < step)

    def stored(self, keys: Keys) -> Keys:
        """The keys as they are stored, and travel."""
        return replace(keys, image=keys.image.to(self.precision.dtype), text=keys.text.to(self.precision.dtype))

    def push(self, keys: Keys, step: int) -> None:
        """Appends the valid rows of `keys` in their order, the oldest rows leave; of more than K the last K stay."""
        number, count = keys.valid.cumsum(0) - 1, keys.valid.sum()
        kept = keys.valid & (number >= count - self.size)
        self._write(keys, self._slot(self.total + number), kept, torch.full_like(number, step))
        self.total += count

    def _write(self, rows: Keys, slots: Tensor, kept: Tensor, steps: Tensor) -> None:
        """Rows that are `kept` go to their slots, where these are held here; no slot twice."""
        places = torch.where(kept & (slots % self.of == self.rank), slots // self.of, self.held)
        for name, column in self._rows.columns().items():
            column.index_copy_(0, places, getattr(rows, name).detach().to(column.dtype))
        self._steps.index_copy_(0, torch.where(kept, slots, self.size), steps)

    def _slot(self, numbers: Tensor) -> Tensor:
        return numbers % max(1, self.size)

    @property
    def slots(self) -> Tensor:
        """Slots of the filled rows, oldest first."""
        return self._newest(len(self))

    def _newest(self, count: int) -> Tensor:
        """Slots of the last `count` rows ever pushed, oldest of them first."""
        return self._slot(self.total + torch.arange(-count, 0, device=self.total.device))

    def rows(self, slots: Tensor) -> Keys:
        """The rows in these slots, as float32; of a sharded queue every rank asks for the same at once."""
        found = self._taken(slots)
        return replace(found, image=found.image.float(), text=found.text.float())

    def _taken(self, slots: Tensor) -> Keys:
        return self.keys.take(slots)

    def ordered(self) -> tuple[Keys, Tensor]:
        """The filled rows, as `rows` gives them, and the steps that wrote them, oldest first."""
        return self.rows(self.slots), self.step_written[self.slots]

    def fill(self) -> Tensor:
        """() share of the slots that are filled; 0 of a queue without any."""
        return (self.step_written >= 0).sum() / max(1, self.size)

    def age(self, step: int) -> Tensor:
        """() steps before `step` in which the oldest row was written; 0 for an empty queue."""
        written = torch.where(self.step_written >= 0, self.step_written, step)
        return step - torch.cat([written, written.new_full((1,), step)]).min()

    def resize(self, size: int) -> None:
        """Changes K in place; the newest min(K, filled) rows stay, in order."""
        rows, steps = self.ordered()
        kept = slice(max(0, len(rows) - size), None)
        fresh = type(self)(size, self.keys.image.shape[1], self.keys.image_codes.shape[1], self.precision)
        fresh.to(self.total.device)
        fresh.total, stays = self.total, rows.take(kept)
        fresh._write(stays, fresh._newest(len(stays)), stays.valid, steps[kept])
        self.__dict__.update(fresh.__dict__)

    def clear(self) -> None:
        """Forgets every row: what a changed vocabulary or key encoder asks for."""
        self._rows.valid.fill_(False)
        self._steps.fill_(-1)
        self.total.zero_()

    def to(self, device: torch.device | str) -> None:
        self._rows, self._steps, self.total = self._rows.to(device), self._steps.to(device), self.total.to(device)

    def state(self) -> dict[str, Tensor]:
        """Every column, `step_written` and `total`: with `load`, the whole queue bit by bit."""
        return self.keys.columns() | self._counts()

    def alike(self) -> dict[str, Tensor]:
        """What of the state lies on every rank: of a whole queue all."""
        return self.state()

    def _counts(self) -> dict[str, Tensor]:
        return {"step_written": self.step_written, "total": self.total}

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes over the rows held here of a `state()`. Raises ValueError naming the column where K, D or A differ."""
        columns = self.keys.columns()
        for name, column in (columns | {"step_written": self.step_written}).items():
            held, asked = tuple(state[name].shape), (self.size, *column.shape[1:])
            if held != asked:
                raise ValueError(f"queue column {name} has shape {held}, this model's queue has {asked}")
        for name, column in columns.items():
            column.copy_(state[name][self.rank :: self.of])
        self.step_written.copy_(state["step_written"])
        self.total.copy_(state["total"])


class ShardedQueue(FeatureQueue):
    """A queue of which rank r of S holds the rows of slots r, r + S, r + 2 S ...; any K and any S fit.

    Every rank still pushes the same gathered rows, and keeps its own. `rows`, `ordered`, `resize` and `state` are
    collectives. A checkpoint holds the whole queue, so that it can be loaded at any S, and by a queue that is whole. It
    belongs to the group in which it was made.
    """

    def __init__(self, size: int, embed_dim: int, attributes: int, precision: Precision = FLOAT32):
        self.rank, self.of = distributed.rank(), distributed.world_size()
        super().__init__(size, embed_dim, attributes, precision)

    def _taken(self, slots: Tensor) -> Keys:
        here = slots % self.of == self.rank
        return Keys(**distributed.from_holders(self.keys.take(slots[here] // self.of).columns(), here))

    def state(self) -> dict[str, Tensor]:
        """That of the whole queue, on the CPU, on the first rank; the others help and get no rows."""
        kept = slice(None) if self.rank == 0 else slice(0)
        slots = torch.arange(self.size, device=self.step_written.device)
        parts = [self._taken(part).take(kept).to("cpu") for part in slots.split(CHUNK)]
        names = self.keys.columns()
        return {name: torch.cat([getattr(part, name) for part in parts]) for name in names} | self._counts()

    def alike(self) -> dict[str, Tensor]:
        """How many rows there are, and the steps that wrote them."""
        return self._counts()
