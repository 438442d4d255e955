"""L_cons and L_anchor against loops written from their formulas."""

import numpy as np
import pytest
import torch

from tests.xmodal import tiny
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError

ANCHOR = {"attribute": 1, "n_min": 2}


def trained(steps: int = 3, **tasks: object) -> CrossModalModel:
    built = tiny.model(tasks=tasks, momentum={"coefficient": 0.8})
    optimizer = torch.optim.SGD(built.parameters(), 0.5)
    for step in range(steps):
        tiny.step(built, optimizer, tiny.batch(4, step=step))
    return built


def test_consistency_is_the_formula() -> None:
    built = trained(itc={}, cons={})
    valid = torch.tensor([True, False, True, True])
    given = tiny.batch(4, step=3, valid=valid)
    seen = tiny.encodings(built, given)
    f, e, f_key, e_key = (
        one.detach().double().numpy() for one in (seen.image, seen.text, seen.keys.image, seen.keys.text)
    )
    rows = [((1 - f[n] @ f_key[n]) + (1 - e[n] @ e_key[n])) / 2 for n in range(4) if valid[n]]
    assert built(given)["cons"].item() == pytest.approx(np.mean(rows), rel=1e-4) and np.mean(rows) > 1e-4


def test_consistency_is_nothing_where_both_encoders_are_equal() -> None:
    loss = tiny.model(tasks={"cons": {}})(tiny.batch(4))["cons"]
    assert abs(loss.item()) < 1e-6


def test_consistency_pulls_the_query_encoder_back() -> None:
    """One step down the loss makes the vectors more like the keys."""
    built = trained(itc={}, cons={})
    given = tiny.batch(4, step=3)
    loss = built(given)["cons"]
    loss.backward()
    torch.optim.SGD(built.query.parameters(), 0.05).step()
    assert built(given)["cons"] < loss


def test_anchoring_is_the_formula() -> None:
    built = trained(itc={}, anchor=ANCHOR)
    given = tiny.batch(6, step=3, valid=torch.tensor([True] * 5 + [False]))
    keys, text = built.queue.keys, tiny.encodings(built, given).text.detach().double().numpy()
    rows = []
    for n in range(5):
        species = int(given.text_codes[n, 1])
        held = [k for k in range(len(keys)) if keys.valid[k] and int(keys.image_codes[k, 1]) == species]
        if species >= 0 and len(held) >= 2:
            centre = np.mean([keys.image[k].double().numpy() for k in held], axis=0)
            rows.append(1 - text[n] @ centre / np.linalg.norm(centre))
    assert 0 < len(rows) < 5
    assert built(given)["anchor"].item() == pytest.approx(np.mean(rows), rel=1e-5)


def test_anchoring_moves_texts_alone() -> None:
    built = trained(itc=None, anchor=ANCHOR)
    built(tiny.batch(6, step=3))["anchor"].backward()
    image, text = (
        sum(float(one.grad.abs().sum()) for one in side.parameters() if one.grad is not None)
        for side in (built.query.image, built.query.text)
    )
    assert image == 0 and text > 0


def test_without_enough_rows_anchoring_is_zero() -> None:
    built = tiny.model(tasks={"itc": {}, "anchor": ANCHOR})
    assert built(tiny.batch(4))["anchor"].item() == 0


def test_anchors_need_a_queue_and_an_attribute() -> None:
    with pytest.raises(SettingsError, match=r"takes its prototypes from the queue, and queue\.size is 0"):
        tiny.model(tasks={"anchor": ANCHOR}, queue={"size": 0})
    with pytest.raises(SettingsError, match=r"tasks\.anchor\.attribute: 5, this dataset has attributes 0 to 2"):
        tiny.model(tasks={"anchor": {}})
