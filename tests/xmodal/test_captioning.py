"""LM against the formula, token by token."""

import math

import numpy as np
import pytest
import torch

from tests.xmodal import tiny
from xmodal.batch import Batch
from xmodal.model import CrossModalModel
from xmodal.tasks.captioning import Captioning


def only(smoothing: float) -> CrossModalModel:
    return tiny.model(tasks={"itc": None, "lm": {"decoder": tiny.FUSION, "label_smoothing": smoothing}})


def token_losses(built: CrossModalModel, given: Batch, smoothing: float) -> list[float]:
    """-(1 - s) log p(w_t) - s mean_v log p(v), of each token after [CLS] of the valid rows."""
    task = built.tasks["lm"]
    assert isinstance(task, Captioning)
    logits = task.decoder(given.caption, tiny.encodings(built, given).image_tokens).detach().double().numpy()
    losses = []
    for row in range(len(given)):
        for place in range(given.caption.shape[1] - 1):
            word = int(given.caption[row, place + 1])
            if word == 0 or not given.valid[row]:
                continue
            scores = logits[row, place]
            log_p = scores - math.log(np.exp(scores).sum())
            losses.append(-(1 - smoothing) * log_p[word] - smoothing * log_p.mean())
    return losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_tokens(smoothing: float) -> None:
    built = only(smoothing)
    given = tiny.batch(4, valid=torch.tensor([True, False, True, True]))
    losses = token_losses(built, given, smoothing)
    assert len(losses) == int((given.text_mask.sum(1) - 1)[given.valid].sum())
    assert built(given)["lm"].item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_uniform_logits_give_log_v() -> None:
    built = only(0.1)
    for parameter in built.tasks["lm"].parameters():
        torch.nn.init.zeros_(parameter)
    assert built(tiny.batch(3))["lm"].item() == pytest.approx(math.log(tiny.VOCABULARY), abs=1e-5)


def test_padding_columns_change_nothing() -> None:
    built, given = only(0.1), tiny.batch(3)
    caption = torch.nn.functional.pad(given.caption[:, :7], [0, 1])
    short = tiny.batch(3, caption=given.caption[:, :7])
    assert built(tiny.batch(3, caption=caption))["lm"].item() == pytest.approx(built(short)["lm"].item(), rel=1e-6)


def test_a_captioner_alone_trains_and_writes() -> None:
    built, given = only(0.0), tiny.batch(4)
    optimizer = torch.optim.AdamW(built.parameters(), 0.02)
    first = tiny.step(built, optimizer, given)["lm"]
    for _ in range(12):
        last = tiny.step(built, optimizer, given)["lm"]
    assert last < first - 0.3
    ids = built.generate(given.image, 6)
    assert ids.shape[0] == 4 and ids.shape[1] <= 6 and (ids[:, 0] == 2).all()
    assert built.generate(given.image, 6, beams=3).shape[0] == 4
    with pytest.raises(KeyError):
        tiny.model().generate(given.image, 6)


def log_p(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum())


@pytest.mark.parametrize("bridge", [0.0, 0.5])
@pytest.mark.parametrize("alpha", [None, 0.4])
def test_bridge_and_soft_labels_are_the_formula(bridge: float, alpha: float | None) -> None:
    """Token by token: CE, and alpha of it against the averaged decoder's softmax on the key encoder's tokens."""
    soft = None if alpha is None else {"alpha": alpha, "ramp": 7}
    task = {"decoder": tiny.FUSION, "label_smoothing": 0.0, "bridge": bridge, "distillation": soft}
    built = tiny.model(tasks={"itc": None, "lm": task}, momentum={"coefficient": 0.5})
    optimizer = torch.optim.SGD(built.parameters(), 1.0)
    for step in range(2):
        tiny.step(built, optimizer, tiny.batch(4, step=step))
    given = tiny.batch(4, step=2, valid=torch.tensor([True, False, True, True]))
    share = 0.0 if alpha is None else alpha  # 8 samples are seen: the ramp of 7 is over
    seen, captioner = tiny.encodings(built, given), built.tasks["lm"]
    averages = built.key_encoders
    teacher = averages["tasks.lm.labels.key"].encoder if alpha is not None else captioner.decoder
    told = teacher(given.caption, seen.key_image_tokens).detach().double().numpy()  # pyright: ignore
    total, count = 0.0, 0
    for weight, tokens in ((1.0, seen.image_tokens), (bridge, seen.key_image_tokens)):
        logits = captioner.decoder(given.caption, tokens).detach().double().numpy()  # pyright: ignore
        for row, place in np.argwhere((given.caption[:, 1:] != 0).numpy() & given.valid.numpy()[:, None]):
            word = int(given.caption[row, place + 1])
            hard, soft_row = -log_p(logits[row, place])[word], np.exp(log_p(told[row, place]))
            total += weight * ((1 - share) * hard - share * (soft_row * log_p(logits[row, place])).sum())
            count += weight == 1.0
    assert not torch.equal(seen.image_tokens, seen.key_image_tokens)
    assert built(given)["lm"].item() == pytest.approx(total / count, rel=1e-5)


def test_the_bridge_trains_the_decoder_and_no_key_encoder() -> None:
    task = {"decoder": tiny.FUSION, "bridge": 1.0, "distillation": {}}
    built = tiny.model(tasks={"itc": None, "lm": task})
    built(tiny.batch(4))["lm"].backward()
    assert all(one.grad is not None for one in built.tasks["lm"].parameters() if one.requires_grad)
    assert all(one.grad is None and not one.requires_grad for key in built.key_encoders.values()
               for one in key.parameters())  # fmt: skip
    decoders = [name for name, _ in built.named_modules() if name.endswith("decoder")]
    assert decoders == ["tasks.lm.decoder"]


def test_the_average_of_the_decoder_follows_it() -> None:
    built = tiny.model(tasks={"lm": {"decoder": tiny.FUSION, "distillation": {}}}, momentum={"coefficient": 0.75})
    start = built.tasks["lm"].decoder.token.weight.detach().clone()  # pyright: ignore
    tiny.step(built, torch.optim.SGD(built.parameters(), 1.0), tiny.batch(4))
    latest = built.tasks["lm"].decoder.token.weight.detach()  # pyright: ignore
    mean = built.key_encoders["tasks.lm.labels.key"].encoder.token.weight
    assert not torch.equal(latest, start) and torch.allclose(mean, 0.75 * start + 0.25 * latest, atol=1e-6)
    built.restart_momentum()
    assert torch.equal(mean, latest)
