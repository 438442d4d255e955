"""What the queue's state costs in a step, exactly: the collectives that workers make for it and the bytes in them, and
what each of them holds.

Counted is what the keys and the stored candidates take: the packed gather of the batch's keys, and what ITC and UTO
exchange, backward included. Not counted is what would be the same without a queue: DistributedDataParallel's gradients,
the tokens that ITM gathers, sums of counts and losses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from xmodal.model import ModelSettings
from xmodal.queue import PRECISIONS
from xmodal.tasks.contrastive import UNTARGETED

WORD = 4
"""Bytes of a float32 number and of a packed word; everything below travels in these."""


@dataclass(frozen=True)
class Collective:
    """One collective of S workers."""

    kind: Literal["all_gather", "all_reduce"]
    handed: int
    """Bytes that a worker hands over."""

    def received(self, workers: int) -> float:
        """Bytes that a worker receives, and as many that it sends, where messages go round in a ring."""
        once = (workers - 1) * self.handed
        return once if self.kind == "all_gather" else 2 * once / workers


def of_a_step(settings: ModelSettings, attributes: int, workers: int, rows: int) -> list[Collective]:
    """The collectives of a step in which each of S `workers` has `rows` (B) rows, in the order of its forward pass,
    then of its backward. In a run's first step the packed gather is preceded by a small one, which agrees on B."""
    forward = [Collective("all_gather", (1 + rows) * _packed(settings, attributes) * WORD)]
    backward = []
    for width in _exchanged(settings, workers):
        forward.append(Collective("all_gather", rows * width * WORD))
        backward.append(Collective("all_reduce", workers * rows * width * WORD))
    return forward + backward[::-1]


def of_a_refresh(settings: ModelSettings, rows: int) -> list[Collective]:
    """The collectives of a refresh, once in `queue.refresh.every` steps."""
    return [Collective("all_gather", rows * (4 * settings.embed_dim + 1) * WORD)] * (settings.queue.refresh is not None)


def held(settings: ModelSettings, attributes: int, workers: int) -> int:
    """Bytes of stored rows on the worker that holds most."""
    queue = settings.queue
    share = -(-queue.size // workers) if queue.sharded else queue.size
    vectors = 2 * settings.embed_dim * PRECISIONS[queue.keys].dtype.itemsize
    return share * (vectors + 3 * 8 + 2 * attributes * 4 + 1) + queue.size * 8


def _packed(settings: ModelSettings, attributes: int) -> int:
    """Words of a row: slot, both vectors, three ids, codes of image and text, validity."""
    vector = -(-settings.embed_dim * PRECISIONS[settings.queue.keys].dtype.itemsize // WORD)
    return 2 + 2 * vector + 3 * 2 + 2 * attributes + 1


def _exchanged(settings: ModelSettings, workers: int) -> Iterator[int]:
    """For each gather with gradient the numbers that a worker hands over for each of its rows."""
    itc, uto = (settings.tasks.present.get(name) for name in ("itc", "uto"))
    stored = []
    if settings.queue.sharded and itc is not None:
        stored.append(2 if itc.fn_policy in UNTARGETED else 3)
    if settings.queue.sharded and uto is not None and uto.queue_weight > 0:
        stored.append(3)
    if stored or (uto is not None and uto.batch_weight > 0):
        yield from [settings.embed_dim] * 2  # f and e, once for all who ask
    for numbers in stored:
        yield from [workers * numbers] * 2  # in both directions, of every row of the global batch
