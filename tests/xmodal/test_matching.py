"""ITM: which negatives are drawn, how often, and the loss of the pairs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.xmodal import tiny
from xmodal.batch import Batch
from xmodal.encodings import Tokens
from xmodal.model import CrossModalModel
from xmodal.tasks.matching import Matching

ONLY = {"itc": None, "itm": {"fusion": tiny.FUSION}}


def task(built: CrossModalModel) -> Matching:
    found = built.tasks["itm"]
    assert isinstance(found, Matching)
    return found


def drawn(built: CrossModalModel, given: Batch) -> tuple[Tensor, Tensor, Any]:
    """Negative texts of the images, whether there is any, and the encodings."""
    seen = tiny.encodings(built, given)
    matching = task(built)
    rows, has = matching._draw(seen, matching.pool(seen), seen.i2t, side=0)
    return rows, has, seen


def test_draws_are_unrelated_valid_and_in_proportion() -> None:
    built = tiny.model(tasks=ONLY)
    blank = torch.full((5, tiny.ATTRIBUTES), -1, dtype=torch.int32)
    fixed: dict[str, Any] = {"image_codes": blank, "text_codes": blank, "sequence_id": torch.tensor([1, 1, 2, 3, 4])}
    given = tiny.batch(5, valid=torch.tensor([True, True, True, True, False]), **fixed)
    counts = np.zeros((5, 5))
    _, _, seen = drawn(built, given)
    matching, logits = task(built), seen.i2t.logits
    for seed in range(400):
        matching.seed = seed
        rows, has = matching._draw(seen, matching.pool(seen), seen.i2t, side=0)
        assert has.all()
        counts[np.arange(5), rows.numpy()] += 1
    allowed = np.ones((5, 5), dtype=bool) & ~np.eye(5, dtype=bool)
    allowed[0, 1] = allowed[1, 0] = False  # one event
    allowed[:, 4] = False  # a padded row
    weights = np.exp(logits[:, :5].detach().double().numpy()) * allowed
    shares = weights / weights.sum(1, keepdims=True)
    assert (counts[~allowed] == 0).all()
    assert np.abs(counts / 400 - shares).max() < 0.09


def test_a_draw_is_keyed_by_seed_step_and_samples_alone() -> None:
    built, given = tiny.model(tasks=ONLY), tiny.batch(6)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    first, _, _ = drawn(built, given)
    shuffled, _, _ = drawn(built, tiny.rows_of(given, order))
    assert torch.equal(shuffled, first[order])  # the pool is in global order, whatever the local one
    steps = torch.stack([drawn(built, replace(given, step=step))[0] for step in range(20)])
    assert len(steps.unique(dim=0)) > 1
    task(built).seed = 1
    assert not torch.equal(torch.stack([drawn(built, replace(given, step=step))[0] for step in range(20)]), steps)


@pytest.mark.parametrize("pool", ["local", "global"])
def test_the_loss_is_the_cross_entropy_of_pairs_and_negatives(pool: str) -> None:
    built = tiny.model(tasks={"itc": None, "itm": {"fusion": tiny.FUSION, "negatives": pool}})
    codes = torch.tensor([[1], [1], [2], [1]], dtype=torch.int32).expand(-1, tiny.ATTRIBUTES)
    given = tiny.batch(4, image_codes=codes, text_codes=codes, valid=torch.tensor([True, True, True, False]))
    seen = tiny.encodings(built, given)
    matching, losses = task(built), []

    def loss(text: int, image: int, label: int) -> float:
        tokens, mask = seen.text_tokens[text][None], given.text_mask[text][None]
        return -matching.logits(tokens, mask, seen.image_tokens[image][None]).log_softmax(1)[0, label].item()

    rows = matching.pool(seen)
    texts, _ = matching._draw(seen, rows, seen.i2t, side=0)
    images, _ = matching._draw(seen, rows, seen.t2i, side=1)
    assert set(texts[:2].tolist()) == {2} and int(texts[2]) in (0, 1)
    for i in range(3):
        losses += [loss(i, i, 1), loss(i, int(images[i]), 0), loss(int(texts[i]), i, 0)]
    assert built(given)["itm"].item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_rows_without_a_negative_are_left_out() -> None:
    built = tiny.model(tasks=ONLY)
    image = torch.tensor([[1], [1], [1]], dtype=torch.int32).expand(-1, tiny.ATTRIBUTES)
    text = image.clone()
    text[2] = 9  # true of no image but its own; all images are told apart from it alone
    given = tiny.batch(3, image_codes=image, text_codes=text)
    texts, has_text, seen = drawn(built, given)
    assert has_text.tolist() == [True, True, False] and texts[:2].tolist() == [2, 2]
    matching = task(built)
    images = matching._draw(seen, matching.pool(seen), seen.t2i, side=1)
    assert images[1].tolist() == [False, False, True]
    loss = built(given)["itm"]
    loss.backward()
    assert torch.isfinite(loss) and all(
        torch.isfinite(p.grad).all() for p in matching.parameters() if p.grad is not None
    )


def test_a_batch_of_one_row_has_a_loss_of_zero_with_a_graph() -> None:
    built = tiny.model(tasks=ONLY)
    loss = built(tiny.batch(1))["itm"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and (p.grad == 0).all() for p in built.parameters() if p.requires_grad)


def test_matching_scores_are_the_logits_of_being_a_pair() -> None:
    built, given = tiny.model(tasks=tiny.ALL_TASKS), tiny.batch(3)
    scores = built.matching_scores(given.image, given.text, given.text_mask)
    seen = tiny.encodings(built, given)
    logits = task(built).logits(seen.text_tokens, given.text_mask, seen.image_tokens)
    assert scores.shape == (3,) and torch.allclose(scores, logits[:, 1])
    with pytest.raises(KeyError):
        tiny.model().matching_scores(given.image, given.text, given.text_mask)


@pytest.mark.parametrize("pool", [4, 9])
def test_an_image_that_several_texts_look_at_is_the_same_image(pool: int) -> None:
    """All of a pool of 4 and the 6 of 9 that 3 rows need: what each pair sees is its own image."""
    torch.manual_seed(0)
    rows, drawn = Tokens(*tokens(pool), torch.arange(pool), own=torch.tensor([2, 0, 3])), torch.tensor([1, 3, 3])
    images, own, other = rows.looked_at(drawn)
    assert len(images) == min(pool, 6)
    assert torch.equal(images[own], rows.image[rows.own]) and torch.equal(images[other], rows.image[drawn])
    matching = task(tiny.model(tasks=ONLY))
    texts, of = torch.cat([rows.own, rows.own]), torch.cat([own, other])
    shared = matching.logits(rows.text[texts], rows.text_mask[texts], images, of)
    apart = matching.logits(rows.text[texts], rows.text_mask[texts], images[of])
    torch.testing.assert_close(shared, apart)


def tokens(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Image tokens, text tokens and their mask."""
    return torch.randn(rows, 5, 8), torch.randn(rows, 4, 8), torch.arange(4) < torch.randint(2, 5, (rows, 1))
