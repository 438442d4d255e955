"""Gradient checkpointing: what is computed and saved stays, what is kept for the backward shrinks."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.xmodal import tiny
from xmodal import checkpoint
from xmodal.model import CrossModalModel
from xmodal.recompute import recompute

DEEP = {"dropout": 0.2, "width": 8, "depth": 3, "heads": 2}
MODELS: dict[str, dict[str, Any]] = {
    "all tasks": {
        "image": tiny.SETTINGS["image"] | DEEP,
        "text": tiny.SETTINGS["text"] | DEEP,
        "tasks": tiny.ALL_TASKS | {"lm": {"decoder": tiny.FUSION, "bridge": 0.5, "distillation": {"alpha": 0.4}}},
        "image_enhance": [{"kind": "residual_attention", "heads": 2}, {"kind": "transformer", "heads": 2, "layers": 2}],
    },
    "hosts": {
        "tasks": {"itc": {}, "itm": {"fusion": tiny.FUSION}, "ccr": {}, "ccs": {}},
        **tiny.FOUR_REGIONS,
        "matcher": {"kind": "fusion"},
    },
}


def stepped(built: CrossModalModel) -> tuple[dict[str, float], dict[str, torch.Tensor], int]:
    """Losses and gradients of two steps, and the bytes that the first kept for its backward."""
    optimizer, kept = torch.optim.SGD(built.parameters(), 0.1), 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    torch.manual_seed(1)
    side: int = built.settings.image.image_size  # pyright: ignore
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        first = tiny.step(built, optimizer, tiny.batch(6, side=side))
    second = tiny.step(built, optimizer, tiny.batch(6, step=1, side=side))
    grads = {name: one.grad for name, one in built.named_parameters() if one.grad is not None}
    return {f"{name} {n}": loss for n, one in enumerate((first, second)) for name, loss in one.items()}, grads, kept


@pytest.mark.parametrize("kind", MODELS)
def test_losses_and_gradients_are_the_same_bits_and_less_is_kept(kind: str) -> None:
    plain, wrapped = tiny.model(**MODELS[kind]), tiny.model(**MODELS[kind])
    recompute(wrapped)
    (losses, grads, kept), (again, others, less) = stepped(plain), stepped(wrapped)
    assert losses == again
    assert all(torch.equal(*pair) for pair in zip(grads.values(), others.values(), strict=True))
    assert less < 0.7 * kept


def test_a_checkpoint_opens_with_and_without(tmp_path: Path) -> None:
    built = tiny.model(**MODELS["all tasks"])
    recompute(built)
    optimizer = torch.optim.AdamW(built.parameters())
    tiny.step(built, optimizer, tiny.batch(6))
    texts: dict[str, Any] = {"recipe_yaml": "", "attributes_json": "{}", "wordpiece": tiny.wordpiece()}
    rng = [checkpoint.rng_state()]
    checkpoint.save(
        tmp_path, model=built, queue=built.queue.state(), optimizer=optimizer, state={"step": 1}, rng=rng, **texts
    )
    plain = tiny.model(seed=1, **MODELS["all tasks"])
    checkpoint.restore(tmp_path, model=plain, optimizer=torch.optim.AdamW(plain.parameters()))
    for one, other in zip(plain.parameters(), built.parameters(), strict=True):
        assert torch.equal(one, other)
