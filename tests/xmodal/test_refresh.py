"""Refresh of stored keys: the formula by loops, which rows, when, and that a restart changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tests.xmodal import tiny
from tests.xmodal.test_checkpoint import Run, differing
from xmodal.model import CrossModalModel
from xmodal.refresh import QueueRefresh, Snapshot, refreshed
from xmodal.settings import SettingsError

R, TAU = 3, 0.05


def vectors(rows: int, seed: int, width: int = 4) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def loop(keys: Tensor, old: Tensor, new: Tensor, tau: float) -> np.ndarray:
    """Q_j <- norm(Q_j + sum_b a_jb (n_b - o_b)), key by key in double precision."""
    rows = []
    for key in keys.double().numpy():
        scores = np.array([key @ one for one in old.double().numpy()]) / tau
        weights = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        moved = key + sum(
            w * (n - o) for w, n, o in zip(weights, new.double().numpy(), old.double().numpy(), strict=True)
        )
        rows.append(moved / np.linalg.norm(moved))
    return np.array(rows)


@given(st.integers(1, 6), st.lists(st.booleans(), min_size=1, max_size=5).filter(any), st.sampled_from([0.02, 1.0]))
def test_it_is_the_formula_over_valid_rows(keys: int, valid: list[bool], tau: float) -> None:
    counted, (old, new) = torch.tensor(valid), (vectors(len(valid), seed) for seed in (1, 2))
    stored = vectors(keys, 0)
    found = refreshed(stored, old, new, counted, tau)
    assert np.allclose(found.numpy(), loop(stored, old[counted], new[counted], tau), atol=1e-4)


def test_an_encoder_that_stood_still_moves_nothing() -> None:
    stored, old = vectors(5, 0), vectors(3, 1)
    assert torch.allclose(refreshed(stored, old, old, torch.ones(3, dtype=torch.bool), TAU), stored, atol=1e-6)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, old, new = vectors(7, 0), vectors(3, 1), vectors(3, 2)
    whole = refreshed(stored, old, new, torch.ones(3, dtype=torch.bool), TAU)
    monkeypatch.setattr("xmodal.refresh.CHUNK", 2)
    assert torch.allclose(refreshed(stored, old, new, torch.ones(3, dtype=torch.bool), TAU), whole, atol=1e-6)


def built(**changes: Any) -> tuple[CrossModalModel, torch.optim.Optimizer]:
    queue = {"size": 40, "refresh": {"every": R, "temperature": TAU}}
    made = tiny.model(queue=queue, momentum={"coefficient": 0.5}, **changes)
    return made, torch.optim.SGD(made.parameters(), 1.0)


def key_vectors(towers: Any, batch: Any) -> tuple[Tensor, Tensor]:
    tokens = towers.text(batch.text, batch.text_mask)
    return towers.image_vectors(towers.image(batch.image)), towers.text_vectors(tokens, batch.text_mask)


def test_rows_older_than_the_window_move_and_no_others() -> None:
    made, optimizer = built()
    for step in range(5):
        tiny.step(made, optimizer, tiny.batch(4, step=step))
    given = tiny.batch(4, step=5, valid=torch.tensor([True, True, False, True]))  # the last step of the second window
    before, written = made.queue.ordered()
    assert isinstance(made.refresh, QueueRefresh)
    old = key_vectors(made.refresh.snapshot.encoder, given)
    tiny.step(made, optimizer, given)
    new = key_vectors(made.key.encoder, given)
    after, _ = made.queue.ordered()
    due = (written < 3).numpy()
    assert 0 < due.sum() < len(due)
    for side, o, n in zip(("image", "text"), old, new, strict=True):
        found, was = getattr(after, side)[: len(due)], getattr(before, side)
        wanted = loop(was, o[given.valid], n[given.valid], TAU)
        assert (
            np.abs(found.numpy() - wanted)[due].max() < 1e-5 and np.abs(found.numpy() - was.numpy())[due].max() > 1e-4
        )
        assert torch.equal(found[~due], was[~due])
    assert made.state(6)["refresh/drift"] > 0 and made.refresh.batches == []


def test_the_snapshot_is_the_key_encoder_of_the_window() -> None:
    made, optimizer = built()
    assert isinstance(made.refresh, QueueRefresh)
    taken = [torch.cat([one.flatten() for one in made.key.parameters()])]
    for step in range(7):
        tiny.step(made, optimizer, tiny.batch(4, step=step))
        taken.append(torch.cat([one.flatten() for one in made.key.parameters()]))
        held = torch.cat([one.flatten() for one in made.refresh.snapshot.parameters()])
        assert torch.equal(held, taken[(step + 1) // R * R])


def test_no_valid_row_changes_nothing() -> None:
    made, optimizer = built()
    for step in range(5):
        tiny.step(made, optimizer, tiny.batch(4, step=step))
    before = made.queue.keys.image.clone()
    tiny.step(made, optimizer, tiny.batch(4, step=5, valid=torch.zeros(4, dtype=torch.bool)))
    assert torch.equal(made.queue.keys.image, before)


def test_accumulated_forwards_refresh_as_one() -> None:
    states = []
    for parts in (1, 2):
        made, optimizer = built()
        for step in range(6):
            optimizer.zero_grad()
            for rows in torch.arange(4).split(4 // parts):
                made(tiny.rows_of(tiny.batch(4, step=step), rows))["itc"].mul(0).backward()
            optimizer.step()
            with torch.no_grad():  # weights move in the same way, whatever the losses of the parts were
                for one in made.query.parameters():
                    one.add_(0.01)
            made.after_step(step)
        states.append(made.queue.keys.image.clone())
    assert torch.allclose(*states, atol=1e-5)


def test_it_is_off_by_default() -> None:
    plain, other = tiny.model(), tiny.model(queue={"size": 10, "refresh": None})
    assert plain.state_dict().keys() == other.state_dict().keys() and "refresh/drift" not in plain.state(0)
    with pytest.raises(SettingsError, match="refresh moves stored keys, and size 0 stores none"):
        tiny.settings(queue={"size": 0, "refresh": {}})


class Refreshing(Run):
    """A run whose window ends neither where it is cut nor where it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.model, _ = built()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-2)


def test_a_resumed_run_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    run = Refreshing().train(4)
    folder = run.save(tmp_path / "checkpoint")
    end = run.train(8).everything()
    assert any("refresh.snapshot" in name for name in end)
    assert differing(Refreshing().restore(folder).train(8).everything(), end) == []
    forgot = Refreshing().restore(folder)
    snapshot = next(one for one in forgot.model.modules() if isinstance(one, Snapshot))
    snapshot.reset()
    assert any(name.startswith("queue image") for name in differing(forgot.train(8).everything(), end))


def test_a_warm_start_takes_the_snapshot_too(tmp_path: Path) -> None:
    from xmodal import checkpoint

    folder = Refreshing().train(4).save(tmp_path / "checkpoint")
    fresh = Refreshing().model
    checkpoint.load_weights(folder, fresh)
    assert isinstance(fresh.refresh, QueueRefresh)
    for mine, latest in zip(fresh.refresh.snapshot.parameters(), fresh.query.parameters(), strict=True):
        assert torch.equal(mine, latest)
