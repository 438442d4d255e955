"""A step on a GPU is the step on the CPU: losses, gradients, the queue, what is embedded, scored and written."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from pipelines.train.descent import Descent
from pipelines.train.feed import on_device
from pipelines.train.readings import Reading
from pipelines.train.settings import TrainSettings
from tests.xmodal import tiny
from xmodal.model import CrossModalModel
from xmodal.settings import parse

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
ROWS = 6


@pytest.fixture(autouse=True)
def whole_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN rounds what convolutions read to 10 bits by default, the CPU does not."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


TRIPLET = {"itc": None, "triplet": {}, "ccr": {}, "ccs": {}}
ITM = {"itc": {}, "itm": {"fusion": tiny.FUSION}}
ATTENTION = [{"kind": "residual_attention", "heads": 2}]
MODELS: dict[str, dict[str, Any]] = {
    "all tasks": {"tasks": tiny.ALL_TASKS | {"cons": {}, "anchor": {"attribute": 0}}},
    "soft targets": {"tasks": {"itc": {"fn_policy": "soft"}, "lm": {"decoder": tiny.FUSION, "bridge": 1}}},
    "UTO": {"tasks": {"itc": None, "uto": {}}, "temperature": {"learnable": False}},
    "refreshed": {"image_enhance": ATTENTION, "queue": {"size": 10, "refresh": {"every": 2}}},
    "GPO": {"pooling": {"kind": "gpo"}, "image_enhance": [{"kind": "self_guided"}]},
    "fusion": {"tasks": ITM | {"ccr": {}, "ccs": {"source": "inter"}, "entropy": {}}, "matcher": {"kind": "fusion"}},
    **{
        kind: {"tasks": TRIPLET, "queue": {"size": 0}, "matcher": {"kind": kind, "width": 8, **more}}
        for kind, more in {"scan": {}, "bfan": {}, "sgraf": {"similarity_width": 8, "regions": 4}}.items()
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_two_steps_are_the_same_on_both(name: str) -> None:
    built = tiny.model(**tiny.FOUR_REGIONS, **MODELS[name])
    here, there = (_trained(deepcopy(built), device) for device in ("cpu", "cuda"))
    assert here.keys() == there.keys()
    for key, value in here.items():
        torch.testing.assert_close(there[key], value, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"scan", "bfan", "sgraf"}))
def test_no_step_waits_for_the_device(name: str) -> None:
    """CUDA itself refuses to wait; `tests/xmodal/test_syncs.py` tells of each read on a CPU."""
    model = tiny.model(**tiny.FOUR_REGIONS, **MODELS[name]).cuda().train()
    descent = Descent(model, parse(TrainSettings, {"global_batch": 8}), 10**6)
    given = on_device((tiny.batch(8, step=step, side=32) for step in range(6)), torch.device("cuda"))
    readings = []
    for batch in given:
        torch.cuda.set_sync_debug_mode("error" if batch.step > 2 else "default")
        try:
            numbers = descent.gradients(model, batch) | {"norm": descent.step(batch.step)}
            readings.append(Reading(numbers | model.state(batch.step + 1)))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(math.isfinite(value) for reading in readings for value in reading.read().values())


def test_what_is_asked_of_a_model_is_the_same_on_both() -> None:
    built = tiny.model(**tiny.FOUR_REGIONS, tasks=tiny.ALL_TASKS).eval()
    given = tiny.batch(ROWS, side=32)
    answers = []
    for device in ("cpu", "cuda"):
        model, batch = deepcopy(built).to(device), given.to(device)
        with torch.no_grad():
            texts = model.encode_text(batch.text, batch.text_mask)
            answers.append([model.encode_image(batch.image).cpu(), texts.cpu(), model.generate(batch.image, 8, 2)])
    for cpu, cuda in zip(*answers, strict=True):
        torch.testing.assert_close(torch.as_tensor(cuda).cpu(), torch.as_tensor(cpu), rtol=1e-4, atol=1e-5)


def _trained(model: CrossModalModel, device: str) -> dict[str, torch.Tensor]:
    """Losses and gradients of two steps, and what they leave in the queue."""
    model.to(device)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-3, fused=True)
    found: dict[str, torch.Tensor] = {}
    for step in range(2):
        losses = tiny.step(model, optimizer, tiny.batch(ROWS, step=step, side=32).to(device))
        found |= {f"{name} {step}": torch.tensor(loss) for name, loss in losses.items()}
    found |= {f"gradient {name}": one for name, one in _gradients(model).items()}
    return found | {f"queue {name}": column.cpu() for name, column in model.queue.state().items()}


def _gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.grad.cpu() for name, one in model.named_parameters() if one.grad is not None}
