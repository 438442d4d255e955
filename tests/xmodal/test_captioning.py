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
