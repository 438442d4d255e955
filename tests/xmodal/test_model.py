"""CrossModalModel: what a step changes, what a forward must not, and what settings build."""

import copy
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.xmodal import tiny
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.settings import SettingsError, fingerprint, parse
from xmodal.tasks import Tasks


def everything(built: CrossModalModel) -> dict[str, torch.Tensor]:
    state = built.state_dict() | {f"queue/{name}": column for name, column in built.queue.state().items()}
    return {name: tensor.clone() for name, tensor in state.items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def built() -> CrossModalModel:
    made = tiny.model(tasks=tiny.ALL_TASKS)
    tiny.step(made, torch.optim.AdamW(made.parameters(), 1e-2), tiny.batch(4))
    return made


def test_a_forward_changes_nothing(built: CrossModalModel) -> None:
    before = everything(built)
    built(tiny.batch(4, step=1))
    assert equal(everything(built), before)


def test_evaluation_leaves_nothing_for_the_queue(built: CrossModalModel) -> None:
    before = everything(built)
    built.eval()
    built(tiny.batch(4, step=1))
    built.encode_image(tiny.batch(4).image)
    built.train()
    with torch.no_grad():
        built(tiny.batch(4, step=1))
    assert built.fresh_keys == [] and equal(everything(built), before)


def test_the_step_averages_first_and_pushes_the_keys_of_the_forward(built: CrossModalModel) -> None:
    given = tiny.batch(3, step=1)
    keys = tiny.encodings(built, given).keys
    optimizer = torch.optim.SGD(built.parameters(), 0.1)
    old, m = copy.deepcopy(built.key.encoder), built.settings.momentum.at(1)
    tiny.step(built, optimizer, given)
    stored, steps = built.queue.ordered()
    assert torch.equal(stored.image[-3:], keys.image) and torch.equal(stored.sample_id[-3:], given.sample_id)
    assert steps.tolist() == [0] * 4 + [1] * 3
    for mean, before, latest in zip(
        built.key.encoder.parameters(), old.parameters(), built.query.parameters(), strict=True
    ):
        assert torch.allclose(mean, m * before + (1 - m) * latest, atol=1e-6)


def test_accumulated_forwards_are_pushed_once_in_order() -> None:
    built = tiny.model(momentum={"coefficient": 0.5, "warmup": 1})
    optimizer = torch.optim.SGD(built.parameters(), 0.1)
    parts = [tiny.rows_of(tiny.batch(6), rows) for rows in torch.arange(6).split(2)]
    start = copy.deepcopy(built.query)
    for part in parts:
        (built(part)["itc"] / 3).backward()
    optimizer.step()
    built.after_step(0)
    assert built.queue.ordered()[0].sample_id.tolist() == list(range(6)) and built.fresh_keys == []
    for mean, first, last in zip(built.key.parameters(), start.parameters(), built.query.parameters(), strict=True):
        assert torch.allclose(mean, (first + last) / 2, atol=1e-6)


def test_padded_rows_never_enter_the_queue() -> None:
    built = tiny.model()
    tiny.step(built, torch.optim.SGD(built.parameters()), tiny.batch(4, valid=torch.tensor([True, False, True, False])))
    assert built.queue.ordered()[0].sample_id.tolist() == [0, 2]


@pytest.mark.parametrize("size", [0, 3, 50])
def test_any_queue_size_trains(size: int) -> None:
    built = tiny.model(queue={"size": size})
    optimizer = torch.optim.AdamW(built.parameters())
    for step in range(3):
        assert tiny.step(built, optimizer, tiny.batch(4, step=step))["itc"] > 0
    assert len(built.queue) == min(size, 12)


@pytest.mark.parametrize("tasks", [{"itc": {}}, {"itc": None, "lm": {"decoder": tiny.FUSION}}, tiny.ALL_TASKS])
@pytest.mark.parametrize("learnable", [True, False])
def test_every_trained_parameter_gets_a_gradient(tasks: dict[str, Any], learnable: bool) -> None:
    built = tiny.model(tasks=tasks, temperature={"learnable": learnable}, head={"kind": "mlp", "hidden": 8})
    torch.stack(list(built(tiny.batch(4)).values())).sum().backward()
    missing = [name for name, one in built.named_parameters() if one.requires_grad and one.grad is None]
    assert not missing and not any(one.requires_grad for one in built.key.parameters())


def test_the_key_encoder_gets_no_gradient_and_no_dropout() -> None:
    built = tiny.model(text=tiny.SETTINGS["text"] | {"dropout": 0.5})
    built.train()
    given = tiny.batch(3)
    first, second = tiny.encodings(built, given), tiny.encodings(built, given)
    assert torch.equal(first.keys.text, second.keys.text) and not torch.equal(first.text, second.text)
    assert not first.keys.text.requires_grad


def test_vectors_are_unit_and_deterministic(built: CrossModalModel) -> None:
    given = tiny.batch(3)
    built.eval()
    image, text = built.encode_image(given.image), built.encode_text(given.text, given.text_mask)
    assert torch.allclose(torch.cat([image, text]).norm(dim=1), torch.ones(6)) and image.shape == (3, 8)
    assert torch.equal(image, built.encode_image(given.image)) and not image.requires_grad
    assert torch.equal(built.image_features(given.image), given.image)
    x, mask = built.text_features(["w1 w2", "w3"])
    assert built.encode_text(x, mask).shape == (2, 8)


def test_the_tower_ignores_what_stands_at_masked_places(built: CrossModalModel) -> None:
    given = tiny.batch(3)
    noise = torch.where(given.text_mask, given.text, torch.full_like(given.text, 7))
    assert torch.allclose(
        built.encode_text(noise, given.text_mask), built.encode_text(given.text, given.text_mask), atol=1e-6
    )


def test_state_metrics_tell_fill_and_age(built: CrossModalModel) -> None:
    found = tiny.told(built, 1)
    assert found["queue/fill"] == pytest.approx(0.4) and found["queue/age"] == 1
    assert found["momentum/coefficient"] == 0.995 and found["momentum/staleness"] == pytest.approx(0.005)
    young = tiny.told(tiny.model(momentum={"warmup": 10}), 1)
    assert young["momentum/coefficient"] == pytest.approx(2 / 11) and young["momentum/staleness"] == 0
    assert tiny.told(tiny.model(queue={"size": 0}), 0)["queue/fill"] == 0


def test_restarting_the_momentum_forgets_the_queue(built: CrossModalModel) -> None:
    built.restart_momentum()
    assert len(built.queue) == 0
    for mean, latest in zip(built.key.encoder.parameters(), built.query.parameters(), strict=True):
        assert torch.equal(mean, latest)


def test_the_queue_follows_to_a_device_and_is_no_buffer(built: CrossModalModel) -> None:
    assert not any("queue" in name for name in built.state_dict())
    built.to("meta")
    assert built.queue.keys.image.device.type == built.queue.step_written.device.type == "meta"


def test_the_default_is_contrast_with_a_masked_queue() -> None:
    settings = ModelSettings()
    assert settings.tasks.present.keys() == {"itc"} and settings.tasks.weights == {"itc": 1.0}
    assert settings.queue.size == 4096 and settings.momentum.coefficient == 0.995


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"queue": {"siz": 3}}, "did you mean queue.size"),
        ({"tasks": {"itc": None}}, "at least one task"),
        ({"tasks": {"itc": {"weight": 0}}}, "at least one task of a weight above 0"),
        ({"tasks": {"itc": {"weight": -1}}}, "tasks.itc.weight"),
        ({"tasks": {"itc": {"fn_policy": "drop"}}}, "tasks.itc.fn_policy"),
        ({"momentum": {"coefficient": 1.5}}, "momentum.coefficient"),
        ({"head": "conv"}, "head"),
        ({"temperature": {"initial": 0.7}}, "must lie within"),
    ],
)
def test_wrong_settings_are_one_line(document: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text) as raised:
        parse(ModelSettings, document)
    assert "\n" not in str(raised.value)


def test_a_task_that_is_off_is_bitwise_the_plain_model() -> None:
    plain, more = tiny.model(), tiny.model(tasks=tiny.ALL_TASKS)
    more.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(plain(tiny.batch(4))["itc"], more(tiny.batch(4))["itc"])
    assert not any(name.startswith("tasks") for name in plain.state_dict())
    assert fingerprint({"tasks": Tasks()}) == fingerprint({"tasks": parse(Tasks, {"itm": None})})


TEACHER = {"teacher": {"kind": "hugging_face", "path": "nowhere"}, "samples": 9}


@pytest.mark.parametrize("name", Tasks.model_fields)
def test_a_task_of_weight_0_is_not_built(name: str) -> None:
    """Of every task alike, so that a search may include it: bit for bit the model without."""
    kept = {"itc": None, "cons": {}} if name == "itc" else {}
    plain = tiny.model(queue={"size": 0}, tasks=kept)
    none = tiny.model(queue={"size": 0}, tasks=kept | {name: {"weight": 0} | (TEACHER if name == "distil" else {})})
    assert equal(plain.state_dict(), none.state_dict()) and plain.weights == none.weights
    losses, others = plain(tiny.batch(3)), none(tiny.batch(3))
    assert losses.keys() == others.keys() and all(torch.equal(losses[task], others[task]) for task in losses)


def parallel_steps(autocast: bool) -> tuple[dict[str, float], int]:
    """A wrapped model as the training loop wraps it, two steps."""
    made = tiny.model(tasks=tiny.ALL_TASKS)
    wrapped = DistributedDataParallel(made, forward_sync_buffers=False)
    optimizer = torch.optim.AdamW(made.parameters(), 1e-3)
    for step in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            losses = wrapped(tiny.batch(2, seed=torch.distributed.get_rank(), step=step))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        made.after_step(step)
    return {name: loss.item() for name, loss in losses.items()}, len(made.queue)


@pytest.mark.parametrize("autocast", [False, True])
def test_it_runs_inside_distributed_data_parallel(world: Any, autocast: bool) -> None:
    for losses, filled in world.run(2, parallel_steps, autocast):
        assert losses.keys() == tiny.ALL_TASKS.keys() and filled == 8
