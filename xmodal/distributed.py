"""What the ranks exchange in a step. Without a process group everything here is the identity.

The global batch is the ranks' rows sorted by their slot, so that no result depends on how many ranks share it. Ranks
may hold unequal numbers of rows, none included: rows are padded to the longest share for the collective and cut again
after it (a plain all_gather of unequal shapes corrupts memory on gloo and hangs NCCL).

Gradients. DistributedDataParallel averages over the S ranks. A loss that is the sum over local rows divided by
(global count / S) therefore has the gradient of the global mean, also where ranks hold unequal numbers of rows; with
`Layout.gather_with_grad`, whose backward adds up what every rank's loss says of a row, this stays exact for rows that
other ranks' losses look at.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad


def is_active() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if is_active() else 0


def world_size() -> int:
    """S."""
    return dist.get_world_size() if is_active() else 1


@torch.no_grad()
def sum_across(value: Tensor) -> Tensor:
    """The sum over ranks, on every rank; no gradient."""
    total = value.detach().clone()
    if is_active():
        dist.all_reduce(total)
    return total


def gather_objects(value: Any) -> list[Any]:
    """Every rank's (picklable) object, in rank order, on every rank."""
    gathered = [value] * world_size()
    if is_active():
        dist.all_gather_object(gathered, value)
    return gathered


class Diverged(RuntimeError):
    """What every rank must hold alike is not alike: a bug, or a machine that computes wrongly."""


def check_alike(tensors: dict[str, Tensor]) -> None:
    """Raises Diverged on every rank, naming the first tensor whose words (of 4 bytes) do not add up to the same sum
    everywhere, and how many more there are. Nothing else would show it: queue and key encoder are never
    sent around."""
    if world_size() == 1:
        return
    sums = {name: _sum(_words(one.detach().reshape(1, -1)).flatten()) for name, one in tensors.items()}
    everywhere = gather_objects(sums)
    apart = [name for name in sums if len({own[name] for own in everywhere}) > 1]
    if apart:
        raise Diverged(f"{apart[0]} and {len(apart) - 1} more are no longer the same on every worker")


def _sum(words: Tensor) -> int:
    """In parts that fit a cache as int64: a tenth of the time of one sum."""
    return int(torch.stack([part.sum(dtype=torch.int64) for part in words.split(1 << 17)]).sum())


def share_of_sum(values: Tensor, counted: Tensor) -> Tensor:
    """S times the sum of the local `values` where `counted`: averaged over ranks, as gradients are, it is the sum over
    all rows. With nothing counted it is 0 and keeps the graph."""
    return torch.where(counted, values, torch.zeros_like(values)).sum() * world_size()


def share_of_mean(values: Tensor, counted: Tensor, count: Tensor) -> Tensor:
    """This rank's summand of a global mean, of `count` () values: averaged over ranks it is the mean of all counted
    ones; with nothing counted 0."""
    return share_of_sum(values, counted) / count.clamp(min=1)


def global_mean(values: Tensor, counted: Tensor) -> Tensor:
    """`share_of_mean` where the count is not known yet: one all-reduce of a number."""
    return share_of_mean(values, counted, sum_across(counted.sum()))


@dataclass(frozen=True)
class Layout:
    """How the ranks' rows make up the global batch of N rows."""

    sizes: tuple[int, ...]
    """Rows of each rank."""
    order: Tensor
    """(N,) position, in rank order, of each row of the global batch."""
    own: Tensor
    """(B,) position in the global batch of each local row."""

    @property
    def rows(self) -> int:
        """N, padded rows included: the same at every world size."""
        return sum(self.sizes)

    def gather(self, rows: Tensor) -> Tensor:
        """(B, ...) local rows -> (N, ...) rows of the global batch, without gradient."""
        return _concatenated(rows.detach(), self.sizes)[self.order]

    def gather_with_grad(self, rows: Tensor) -> Tensor:
        """As `gather`; the backward sums every rank's gradient of a row into the rank that holds it."""
        gathered: Tensor = _Gather.apply(rows, self.sizes)  # pyright: ignore[reportAssignmentType]
        return gathered[self.order]

    def answers(self, rows: Tensor) -> Tensor:
        """(N, P) what this rank says of each row of the global batch -> (B, S, P) what every rank says of the local
        ones. The backward tells each rank what became of all it said."""
        said: Tensor = _Gather.apply(rows, (len(rows),) * world_size())  # pyright: ignore[reportAssignmentType]
        return said.reshape(world_size(), *rows.shape).transpose(0, 1)[self.own]


@dataclass(frozen=True)
class Gathered:
    """The small columns of the global batch, and how it is made up."""

    layout: Layout
    columns: dict[str, Tensor]
    """(N, ...) rows in global order, without gradient, the same bits on every rank."""
    longest: list[int]
    """Largest over the ranks of each length asked about."""


class Gatherer:
    """Puts the columns of the global batch together by one collective a step: everything is packed into one integer
    tensor, with a last row that says how many rows and what lengths a rank has.

    Ranks may hold unequal numbers of rows, and a collective needs equal ones: every rank sends as many as the longest
    share so far, which all have seen. Where a share turns out longer (as in the first step) everything is sent again.
    """

    def __init__(self) -> None:
        self.room = 0

    def __call__(self, slot: Tensor, columns: dict[str, Tensor], lengths: list[int]) -> Gathered:
        """Columns are of any type. `slot` (B,) is each local row's position in the global batch; `lengths` are local
        sizes whose maximum over the ranks is wanted (each rank trims its texts to its own longest)."""
        everything = {"": slot} | columns
        shapes, told = self._told([_words(column.detach()) for column in everything.values()], [len(slot), *lengths])
        sizes = tuple(shape[0] for shape in shapes)
        each = len(told) // len(sizes)
        held = torch.cat([torch.arange(size, device=slot.device) + n * each for n, size in enumerate(sizes)])
        order = torch.argsort(_unpacked(told[held, :2], {"": slot})[""], stable=True)
        rows = _unpacked(told[held[order]], everything)
        del rows[""]
        first = sum(sizes[: rank()])
        own = torch.argsort(order)[first : first + len(slot)]
        longest = [max(shape[1 + n] for shape in shapes) for n in range(len(lengths))]
        return Gathered(Layout(sizes, order, own), rows, longest)

    def _told(self, words: list[Tensor], shape: list[int]) -> tuple[list[list[int]], Tensor]:
        """Every rank's `shape`, and equally many rows of words from each, those it has first. Where there are several,
        the host reads the shapes, once a step."""
        if not is_active():
            return [shape], torch.cat(words, dim=1)
        message = words[0].new_empty(self.room + 1, sum(part.shape[1] for part in words))
        message[self.room, : len(shape)] = torch.tensor(shape, dtype=message.dtype)
        if shape[0] <= self.room:
            torch.cat(words, dim=1, out=message[: shape[0]])
        told = _equal(message)
        shapes = told[self.room :: self.room + 1, : len(shape)].tolist()
        longest = max(one[0] for one in shapes)
        if longest > self.room:
            self.room = longest
            return self._told(words, shape)
        return shapes, told


def from_holders(columns: dict[str, Tensor], held: Tensor) -> dict[str, Tensor]:
    """(N, ...) columns on every rank, the same bits, of rows that one rank each holds: `held` (N,) says which are this
    rank's, `columns` has those alone. One all-reduce."""
    found = torch.cat([_words(column) for column in columns.values()], dim=1)
    words = found.new_zeros(len(held), found.shape[1])
    words[held] = found
    return _unpacked(sum_across(words), columns)


def _equal(rows: Tensor) -> Tensor:
    """Rows of all ranks, concatenated in rank order; every rank holds the same number."""
    if not is_active():
        return rows
    gathered = rows.new_empty(world_size() * len(rows), *rows.shape[1:])
    dist.all_gather(list(gathered.tensor_split(world_size())), rows.contiguous())
    return gathered


def _concatenated(rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Rows of all ranks in rank order; rank r holds sizes[r] of them."""
    longest = max(sizes)
    padded = pad(rows, [0, 0] * (rows.ndim - 1) + [0, longest - len(rows)])
    shares = _equal(padded).split(longest) if longest else [rows] * len(sizes)
    return torch.cat([share[:size] for share, size in zip(shares, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
        ctx.start, ctx.size = sum(sizes[: rank()]), len(rows)
        return _concatenated(rows, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        wide = torch.promote_types(gradients[0].dtype, torch.float32)  # bfloat16 would round at every rank added
        total = sum_across(gradients[0].to(wide).contiguous())
        return total[ctx.start : ctx.start + ctx.size].to(gradients[0].dtype), None


def _words(column: Tensor) -> Tensor:
    """(B, ...) -> (B, words) int32, the same bits, and the same memory where rows are whole words; others end in
    zeros."""
    octets = column.reshape(len(column), column.shape[1:].numel()).contiguous().view(torch.uint8)
    odd = -octets.shape[1] % 4
    whole = pad(octets, [0, odd]) if odd else octets
    return whole.flatten().view(torch.int32).reshape(len(whole), whole.shape[1] // 4)  # rows may be of no bytes


def _unpacked(words: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The columns, of the types and widths of `like`, whose `_words` stand beside each other in (N, words)."""
    parts = words.split([-(-_octets(one) // 4) for one in like.values()], dim=1)
    return {name: _column(part, one) for (name, one), part in zip(like.items(), parts, strict=True)}


def _column(words: Tensor, like: Tensor) -> Tensor:
    """(N, words) of `_words` -> (N, ...) of the type and width of `like`, in memory of its own."""
    copy = words.clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8)
    octets = copy.reshape(len(words), 4 * words.shape[1])[:, : _octets(like)]
    return octets.flatten().view(like.dtype).reshape(len(words), *like.shape[1:])


def _octets(column: Tensor) -> int:
    """Bytes of a row."""
    return column.shape[1:].numel() * column.element_size()
