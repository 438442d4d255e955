"""What makes up an optimizer step: parts of a batch, on any number of workers, and numbers of half precision."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pipelines.train.descent import Descent
from pipelines.train.settings import TrainSettings
from tests.xmodal import tiny
from tests.xmodal.world import World
from xmodal import distributed
from xmodal.batch import Batch
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError, parse

ROWS, LANES = 8, 2
DISTILLED = {"itc": {"distillation": {"alpha": 0.4, "ramp": 40}}, "itm": {"fusion": tiny.FUSION}}


@pytest.fixture(scope="module")
def world() -> Any:
    made = World()
    yield made
    made.close()


def settings(**changes: Any) -> TrainSettings:
    return parse(TrainSettings, {"global_batch": ROWS, "lanes": LANES} | changes)


def gradient(model: CrossModalModel) -> Tensor:
    return torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


def trained(rows: list[list[int]], steps: int = 3) -> dict[str, Tensor]:
    """Steps in two parts each on these workers; what they leave."""
    built = tiny.model(tasks=DISTILLED)
    wrapped = DistributedDataParallel(built, forward_sync_buffers=False) if dist.is_initialized() else built
    descent = Descent(built, settings(accumulate=2, optimizer={"learning_rate": 0.01}), ROWS * steps)
    mine, means = torch.tensor(rows[distributed.rank()]), {}
    for step in range(steps):
        valid = torch.arange(ROWS) < (ROWS if step < steps - 1 else ROWS - 3)
        shares = descent.gradients(wrapped, tiny.rows_of(tiny.batch(ROWS, step=step, valid=valid), mine))
        for name, share in shares.items():
            means[f"{name} {step}"] = distributed.sum_across(share) / distributed.world_size()
        means[f"gradient {step}"] = gradient(built)
        descent.step(step)
    return means | {f"queue {name}": column for name, column in built.queue.state().items()}


def test_parts_are_forwards_of_a_step_and_the_queue_takes_all_their_keys() -> None:
    whole, built, plain = tiny.batch(ROWS), tiny.model(tasks=DISTILLED), tiny.model(tasks=DISTILLED)
    parts = [tiny.rows_of(whole, torch.arange(ROWS)[start::2]) for start in range(2)]
    losses = [plain(part) for part in parts]
    torch.stack([loss for one in losses for loss in one.values()]).sum().div(2).backward()
    descent = Descent(built, settings(accumulate=2), ROWS)
    shares = descent.gradients(built, whole)
    torch.testing.assert_close(gradient(built), gradient(plain))
    assert shares["itc"].item() == pytest.approx((losses[0]["itc"] + losses[1]["itc"]).item() / 2)
    descent.step(0)
    order = torch.cat([part.sample_id for part in parts])
    assert torch.equal(built.queue.ordered()[0].sample_id, order)


@pytest.mark.parametrize("rows", [[[0, 1, 2, 3], [4, 5, 6, 7]]])
def test_parts_are_the_same_on_two_workers(world: World, rows: list[list[int]]) -> None:
    """Losses, gradients, which are added up once a step, and the queue; schedules in samples count the whole batch."""
    alone = trained([list(range(ROWS))])
    for found in world.run(2, trained, rows):
        for name, wanted in alone.items():
            bound = 2e-5 * max(1.0, wanted.double().norm().item())
            assert (found[name].double() - wanted.double()).norm() <= bound, name


def test_a_batch_in_parts_counts_its_samples_whole() -> None:
    part = tiny.batch(ROWS, step=3).split(2)[1]
    assert len(part) == ROWS // 2 and tiny.encodings(tiny.model(), part).samples_seen == 3 * ROWS


def test_parts_that_lanes_cannot_be_cut_in_are_refused() -> None:
    with pytest.raises(SettingsError, match="accumulate 3 must divide the 4 rows"):
        settings(accumulate=3)


def test_half_precision_multiplies_and_stores_nothing() -> None:
    whole: Batch = tiny.batch(ROWS)
    full, half = tiny.model(tasks=tiny.ALL_TASKS), tiny.model(tasks=tiny.ALL_TASKS)
    seen: list[torch.dtype] = []
    half.query.image.encoder.blocks[0].attend.query.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    grads = []
    for built, precision in ((full, "fp32"), (half, "bf16")):
        descent = Descent(built, settings(precision=precision), ROWS)
        shares = descent.gradients(built, whole)
        assert all(share.dtype == torch.float32 for share in shares.values())
        grads.append(gradient(built))
        descent.step(0)
    assert seen == [torch.bfloat16]
    near = torch.cosine_similarity(*grads, dim=0)
    assert 0.98 < near < 1 - 1e-7
    floats = [one.dtype for one in (*half.parameters(), half.queue.keys.image, half.queue.keys.text)]
    assert set(floats) == {torch.float32}
