"""Within a training step the host never waits for a device: whatever it reads is read a step later."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from pipelines.train.descent import Descent
from pipelines.train.readings import Reading
from pipelines.train.settings import TrainSettings
from tests.xmodal import tiny
from tests.xmodal.syncs import host_reads
from tests.xmodal.test_gpu import MODELS
from tests.xmodal.world import World
from xmodal import distributed
from xmodal.settings import parse

ROWS = 8
SHARDED = {"queue": {"size": 10, "sharded": True}, "tasks": {"itc": {}}}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{name: (settings, {}) for name, settings in MODELS.items()},
    "sharded": (SHARDED, {}),
    "BiGRU": ({"text": {"kind": "bigru", "word_dim": 8, "width": 8}, "tasks": {"itc": {}}}, {}),
    "bf16, in two parts": (MODELS["all tasks"], {"precision": "bf16", "accumulate": 2}),
}
KNOWN = {  # how long the step's own texts are; GPO's lengths never leave the host
    "BiGRU": {"cpu in bigru.py: forward", "aten._local_scalar_dense.default in bigru.py: forward"},
    "GPO": {"aten._local_scalar_dense.default in pooling.py: weights"},
    **{host: {"tolist in blocks.py: _captions"} for host in ("scan", "bfan", "sgraf")},
}


@pytest.mark.parametrize("name", CASES)
def test_no_step_reads_from_the_device(name: str) -> None:
    settings, train = CASES[name]
    model = tiny.model(**tiny.FOUR_REGIONS, **settings).train()
    descent = Descent(model, parse(TrainSettings, {"global_batch": ROWS, **train}), 10**6)
    for step in range(2):  # the second meets a filled queue, and ends the window of a refresh
        given = tiny.batch(ROWS, step=step, side=32)
        with host_reads() as places:
            shares = descent.gradients(model, given)
            reading = Reading(shares | {"norm": descent.step(step)} | model.state(step + 1))
        assert set(places) == KNOWN.get(name, set()), Counter(places)
    assert reading.read()["queue/age"] == min(2, model.queue.size)


def test_a_read_is_seen() -> None:
    values = torch.arange(3.0)
    for read in (
        lambda: values.sum().item(),
        lambda: values.tolist(),
        lambda: values[values > 1],
        lambda: bool(values.any()),
        lambda: values.nonzero(),
        lambda: values.new_zeros(3).index_put_((values > 1,), values[1]),
    ):
        with host_reads() as places:
            read()
        assert places, read


def places_of(name: str) -> list[list[str]]:
    """What one of several workers reads in each of three steps, as its run makes them."""
    settings, train = CASES[name]
    model = tiny.model(**tiny.FOUR_REGIONS, **settings).train()
    parallel = DistributedDataParallel(model, forward_sync_buffers=False)
    descent, found = Descent(model, parse(TrainSettings, {"global_batch": ROWS, **train}), 10**6), []
    for step in range(3):
        own = torch.arange(distributed.rank(), ROWS, distributed.world_size())
        given = tiny.rows_of(tiny.batch(ROWS, step=step, side=32), own)
        with host_reads() as places:
            shares = descent.gradients(parallel, given)
            means = distributed.sum_across(torch.stack(list(shares.values())))
            Reading({"means": means.sum(), "norm": descent.step(step)} | model.state(step + 1))
        found.append(places)
    return found


@pytest.mark.parametrize("name", ["all tasks", "UTO", "refreshed", "sharded", "scan", "bf16, in two parts"])
def test_several_workers_read_one_thing_more(world: World, name: str) -> None:
    """How many rows and how long texts the others have: once a forward, twice where a share is longer than before."""
    forwards = CASES[name][1].get("accumulate", 1)
    for own in world.run(2, places_of, name):
        for step, places in enumerate(own):
            counts = Counter(places)
            told = counts.pop("tolist in distributed.py: _told")
            assert told == forwards + (step == 0) and set(counts) == KNOWN.get(name, set()), counts
