"""A model of a step's time on many GPUs, and the terms of it that this machine can measure.

    python -m tests.bench.scaling

Measured here: gloo groups of 1, 2 and 4 processes, whose compute is a sleep, so that 2 cores do for 4 of them. After
each sleep and a barrier, in turn: the packed gather of a step's keys; the same rows by four gathers, as ALBEF's code
makes one for each thing it stores; an all-reduce of gradients. A gather's seconds are fitted by

    (S - 1) (latency + bytes / bandwidth)

and the all-reduce's by 2 (S - 1) (latency + bytes / S / bandwidth), as messages go round in a ring. Then whole steps
without barriers, against what the fitted terms say of them.

Modelled, never measured: 8 to 1,024 GPUs. The same terms, with latencies of NCCL's own tuning model and bandwidths of
data sheets (`network`), and the wait for the slowest of N workers. What packing and unpacking take on a host is in the
fit, and not in the model.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist

from tests.bench.frame import machine
from tests.xmodal import tiny
from tests.xmodal.world import World
from xmodal import distributed, traffic

WORKERS, ROWS, STEPS, BLOCKS, COMPUTE = (1, 2, 4), (64, 256, 1024), 20, 5, 0.05
"""Group sizes; rows a worker; steps of a block; blocks of each size; seconds of sleep that stand for compute."""
EMBED_DIM, ATTRIBUTES, GRADIENTS = 256, 17, 1 << 20
"""Numbers of a key, attributes of a prepared dataset, float32 numbers of the all-reduce."""
GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Network:
    """What connects N GPUs, `node` of them in each machine. Latencies are (before a collective begins, of a message
    between GPUs of a machine, of one between machines), in seconds."""

    name: str
    node: int
    ring: tuple[float, float, float]
    tree: tuple[float, float, float]
    """Of an all-reduce of a few bytes."""
    inside: float
    """Bytes a second and direction of a GPU to the others of its machine."""
    between: float
    """Bytes a second and direction of a machine to the others: a ring leaves each machine once."""

    def machines(self, gpus: int) -> int:
        return -(-gpus // self.node)

    def ring_seconds(self, gpus: int, rounds: int, sent: float) -> float:
        """`rounds` times N - 1 messages, in which each GPU sends and receives `sent` bytes in all."""
        base, inside, between = self.ring
        machines = self.machines(gpus)
        messages = (gpus - machines) * inside + (machines - 1) * between
        bandwidth = self.inside if machines == 1 else min(self.inside, self.between)
        return base + rounds * messages + sent / bandwidth if gpus > 1 else 0.0

    def tree_seconds(self, gpus: int) -> float:
        """An all-reduce of a few bytes: up a tree and down again, which is a chain within each machine."""
        base, inside, between = self.tree
        machines = self.machines(gpus)
        messages = (min(gpus, self.node) - 1) * inside + math.log2(machines) * between
        return base + 2 * messages if gpus > 1 else 0.0


def network(name: str, between: float) -> Network:
    """Machines of 8 GPUs with NVLink 4: 900 GB/s, both ways together (NVIDIA H100 data sheet). Latencies: NCCL's
    src/graph/tuning.cc at 01afd20, ring of protocol Simple, tree of LL."""
    ring, tree = (8.4e-6, 3.4e-6, 9.6e-6), (4.4e-6, 1.8 * 0.52e-6, 5.0e-6)
    return Network(name, 8, ring, tree, inside=450e9, between=between)


NETWORKS = (
    network("InfiniBand, 8 x 400 Gb/s a machine", 8 * 50e9),
    network("Ethernet, 100 Gb/s a machine", 12.5e9),
)
"""One ConnectX-7 of 400 Gb/s beside each GPU (NVIDIA DGX H100 user guide); one card of 100 Gb/s for all eight. Peaks,
of which nobody reaches all."""


@dataclass(frozen=True)
class Step:
    """What a step is, of B rows a GPU. Every number is an input of the model."""

    compute: float = 0.104
    """Seconds of one GPU's compute: 256 rows at 2,455 rows a second, computed from FLOPs at 45 % of an H200's peak
    (ViT-B/16, ITC, ITM and captioning), not measured."""
    backward: float = 2 / 3
    """Share of it in which gradients can be added up beside it: DistributedDataParallel does so bucket by bucket."""
    rows: int = 256
    """B."""
    keys: float = 2220
    """Bytes of a packed row (`xmodal.traffic`: D = 256, A = 17, float32)."""
    parameters: float = 210e6
    """Trained weights; a gradient has 4 bytes for each."""
    small: int = 3
    """Collectives of a few bytes: counts, and means of losses."""
    jitter: float = 0.01
    """Coefficient of variation of a worker's compute from step to step."""
    queue: int = 65_536
    """K."""


@dataclass(frozen=True)
class Modelled:
    """Seconds of a step by the model."""

    compute: float
    slowest: float
    """Wait for the slowest worker."""
    gather: float
    small: float
    reduced: float
    """All-reduce of the gradients that the backward does not hide."""

    @property
    def whole(self) -> float:
        return self.compute + self.slowest + self.gather + self.small + self.reduced

    @property
    def efficiency(self) -> float:
        """Share of N times one GPU's rows a second."""
        return self.compute / self.whole


def step_time(gpus: int, network: Network, step: Step) -> Modelled:
    """The model. The slowest of N draws of a normal distribution lies near sqrt(2 ln N) deviations above its mean."""
    reduced = network.ring_seconds(gpus, 2, 2 * (gpus - 1) / gpus * 4 * step.parameters)
    return Modelled(
        compute=step.compute,
        slowest=step.compute * step.jitter * math.sqrt(2 * math.log(gpus)),
        gather=network.ring_seconds(gpus, 1, (gpus - 1) * (1 + step.rows) * step.keys),
        small=step.small * network.tree_seconds(gpus),
        reduced=max(0.0, reduced - step.backward * step.compute),
    )


HEAD = (
    "network between machines (model)",
    "GPUs",
    "slowest worker",
    "gather",
    "small",
    "all-reduce beyond the backward",
    "step",
    "efficiency",
    "the same at 5 % jitter",
    "K / (N B), steps",
)


def modelled(step: Step) -> Iterator[str]:
    """The model as a table in Markdown; the last column is how many steps a key lives."""
    yield f"| {' | '.join(HEAD)} |"
    yield "|---" * len(HEAD) + "|"
    rough = replace(step, jitter=0.05)
    for one in NETWORKS:
        for gpus in GPUS:
            found, shaken = step_time(gpus, one, step), step_time(gpus, one, rough)
            parts = (found.slowest, found.gather, found.small, found.reduced, found.whole)
            times, shares = (
                (f"{1000 * part:.2f} ms" for part in parts),
                (f"{it.efficiency:.1%}" for it in (found, shaken)),
            )
            yield f"| {one.name} | {gpus:,} | {' | '.join([*times, *shares])} | {step.queue / (gpus * step.rows):.3g} |"


@dataclass(frozen=True)
class Fit:
    """Seconds of a message, and bytes a second."""

    latency: float
    bandwidth: float

    def seconds(self, messages: float, sent: float) -> float:
        return messages * self.latency + sent / self.bandwidth


def fitted(points: list[tuple[float, float, float]]) -> Fit:
    """By least squares of relative errors, of (messages, bytes sent, seconds); no term below zero."""
    measured = np.array(points)
    terms, seconds = measured[:, :2] / measured[:, 2:], np.ones(len(measured))
    latency, inverse = np.linalg.lstsq(terms, seconds, rcond=None)[0]
    if latency < 0:
        latency, inverse = 0.0, terms[:, 1].sum() / (terms[:, 1] ** 2).sum()
    if inverse <= 0:
        latency, inverse = terms[:, 0].sum() / (terms[:, 0] ** 2).sum(), 1e-15
    return Fit(float(latency), float(1 / inverse))


class Exchanges:
    """What a step exchanges, on one rank: keys of `rows` rows, and gradients."""

    def __init__(self, rows: int):
        generator = torch.Generator().manual_seed(distributed.rank())
        vectors = [torch.randn(rows, EMBED_DIM, generator=generator) for _ in range(2)]
        ids = {name: torch.arange(rows) for name in ("sample_id", "caption_id", "sequence_id")}
        codes = {name: torch.zeros(rows, ATTRIBUTES, dtype=torch.int32) for name in ("image_codes", "text_codes")}
        self.columns = dict(zip(("image", "text"), vectors, strict=True)) | ids | codes
        self.columns["valid"] = torch.ones(rows, dtype=torch.bool)
        self.slot = torch.arange(rows) * distributed.world_size() + distributed.rank()
        self.gatherer, self.gradients = distributed.Gatherer(), torch.ones(GRADIENTS)

    def packed(self) -> None:
        self.gatherer(self.slot, self.columns, [24])

    def literal(self) -> None:
        """Image keys, text keys, ids and codes, each by a gather of its own into a list."""
        ids = torch.stack([self.columns[name] for name in ("sample_id", "caption_id", "sequence_id")], 1)
        codes = torch.cat([self.columns[name] for name in ("image_codes", "text_codes")], 1)
        for one in (self.columns["image"], self.columns["text"], ids, codes):
            parts = [torch.empty_like(one) for _ in range(distributed.world_size())]
            dist.all_gather(parts, one)
            torch.cat(parts)

    def reduced(self) -> None:
        dist.all_reduce(self.gradients)

    @property
    def acts(self) -> dict[str, Callable[[], None]]:
        return {"packed": self.packed, "literal": self.literal, "reduced": self.reduced}


def exchanged(rows: int, compute: float, steps: int) -> dict[str, float]:
    """Median seconds of each exchange on this rank, all ranks having come to it at once."""
    acts, found = Exchanges(rows).acts, dict[str, list[float]]()
    for step in range(steps + 1):
        for name in sorted(acts, reverse=bool(step % 2)):
            time.sleep(compute)
            dist.barrier()
            begun = time.perf_counter()
            acts[name]()
            found.setdefault(name, []).append(time.perf_counter() - begun)
    return {name: statistics.median(seconds[1:]) for name, seconds in found.items()}


def stepped(rows: int, compute: float, steps: int) -> tuple[float, float]:
    """Seconds a step of compute, gather and all-reduce on this rank; and of the sleep that compute is."""
    exchanges, slept = Exchanges(rows), 0.0
    exchanges.packed()
    dist.barrier()
    begun = time.perf_counter()
    for _ in range(steps):
        woken = time.perf_counter()
        time.sleep(compute)
        slept += time.perf_counter() - woken
        exchanges.packed()
        exchanges.reduced()
    return (time.perf_counter() - begun) / steps, slept / steps


def handed(workers: int, rows: int) -> int:
    """Bytes that a worker gives to the packed gather."""
    settings = tiny.settings(embed_dim=EMBED_DIM, queue={"size": 1}, tasks={"itc": {}})
    return traffic.of_a_step(settings, ATTRIBUTES, workers, rows)[0].handed


def measured(world: World) -> Iterator[str]:
    """The terms on this machine as tables in Markdown: gathers, fits, and whole steps against them."""
    yield "| S | B | packed gather | four gathers | four / packed | all-reduce of 4 MB |"
    yield "|---" * 6 + "|"
    gathers, reduces = [], []
    for workers in WORKERS[1:]:
        for rows in ROWS:
            blocks = [world.run(workers, exchanged, rows, COMPUTE, STEPS) for _ in range(BLOCKS)]
            seconds = {name: [statistics.mean(one[name] for one in ranks) for ranks in blocks] for name in blocks[0][0]}
            ratios = [four / one for four, one in zip(seconds["literal"], seconds["packed"], strict=True)]
            middle = {name: statistics.median(found) for name, found in seconds.items()}
            gathers.append((workers - 1, (workers - 1) * handed(workers, rows), middle["packed"]))
            reduces.append((2 * (workers - 1), 2 * (workers - 1) / workers * 4 * GRADIENTS, middle["reduced"]))
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells = [f"{1000 * middle[name]:.2f} ms" for name in ("packed", "literal")]
            yield f"| {workers} | {rows:,} | {' | '.join(cells)} | {spread} | {1000 * middle['reduced']:.2f} ms |"
    gather, reduce = fitted(gathers), fitted(reduces)
    for name, fit in (("gather", gather), ("all-reduce", reduce)):
        yield f"{name}: {1e6 * fit.latency:.0f} us a message, {fit.bandwidth / 1e6:,.0f} MB a second (fitted)"
    yield "| S | B | step measured | by the fitted terms | measured / terms |"
    yield "|---" * 5 + "|"
    for workers in WORKERS:
        yield _whole_step(world, workers, ROWS[1], gather, reduce)


def _whole_step(world: World, workers: int, rows: int, gather: Fit, reduce: Fit) -> str:
    """The sleep as it was slept, which is longer than asked for, and the two exchanges."""
    blocks = [world.run(workers, stepped, rows, COMPUTE, STEPS) for _ in range(BLOCKS)]
    sent = [(workers - 1) * handed(workers, rows), 2 * (workers - 1) / workers * 4 * GRADIENTS]
    exchanges = gather.seconds(workers - 1, sent[0]) + reduce.seconds(2 * (workers - 1), sent[1])
    pairs = [(max(one for one, _ in ranks), max(slept for _, slept in ranks) + exchanges) for ranks in blocks]
    ratios = [step / terms for step, terms in pairs]
    step, terms = (statistics.median(side) for side in zip(*pairs, strict=True))
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"| {workers} | {rows:,} | {1000 * step:.1f} ms | {1000 * terms:.1f} ms | {spread} |"


def main() -> None:
    print(machine())
    world = World(max(WORKERS))
    try:
        for line in measured(world):
            print(line, flush=True)
    finally:
        world.close()
    print("The model, which nothing has measured:")
    print("\n".join(modelled(Step())))


if __name__ == "__main__":
    main()
