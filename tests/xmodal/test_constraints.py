"""CCR and CCS against loops over fragments that build every attended vector, and what must hold of any host."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from xmodal import constraints
from xmodal.constraint_figures import figures
from xmodal.constraints import REVERSES, SWAPS, Losses
from xmodal.matchers.record import AttentionRecord
from xmodal.relevance import Cosine, attends, entropy
from xmodal.words import ANIMAL, EVERY

P, N, M, D, MARGIN = 3, 4, 6, 5, 0.3
GROUPS = torch.tensor([[1, 2, 1, 3], [1, 1, 1, -1], [4, -1, 5, 6]])
OTHERS = torch.tensor([[2, 7, -1, 8], [9, -1, 7, 8], [4, 6, -1, 8]])
"""Words of another caption: 2 and 4 are in the first one too, 6 only where it is padded."""
QUERIES = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]).bool()
KEYS = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0]]).bool()


class Pairs:
    """Random vectors and weights, with 7.0 at all that is masked, weights at masked keys apart: hosts leave 0 there."""

    def __init__(self, seed: int = 0, groups: Tensor | None = GROUPS, dtype: torch.dtype = torch.float64):
        self.garbage = 7.0
        generator = torch.Generator().manual_seed(seed)
        self.query = torch.randn(P, N, D, generator=generator, dtype=dtype)
        self.key = torch.randn(P, M, D, generator=generator, dtype=dtype)
        self.logits = torch.randn(P, N, M, generator=generator, dtype=dtype)
        self.groups = groups

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, weights."""
        weight = self.logits.masked_fill(~KEYS[:, None], -torch.inf).softmax(-1)
        masked = [(self.query, QUERIES), (self.key, KEYS), (weight, QUERIES)]
        query, key, weight = (one.masked_fill(~mask[..., None], self.garbage) for one, mask in masked)
        return query, key, weight

    def record(self, **changes: Tensor) -> AttentionRecord:
        query, key, weight = self.parts()
        made = AttentionRecord(
            sim=query @ key.transpose(1, 2),
            weight=weight,
            gram=key @ key.transpose(1, 2),
            query_norm=query.norm(dim=-1),
            query_mask=QUERIES,
            key_mask=KEYS,
            query_group=self.groups,
            direction="t2i",
        )  # fmt: skip
        return replace(made, **changes)


def cos(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / (np.sqrt(x @ x) * np.sqrt(y @ y)))


def slow_reverse(row: np.ndarray, kind: str) -> np.ndarray | None:
    if kind == "bottom_mass":
        left, held = np.ones(len(row)), 0.0
        for j in sorted(range(len(row)), key=lambda j: -row[j]):
            if held < 0.9 * row.sum():
                left[j], held = 0, held + row[j]
        return None if left.sum() == 0 or np.ptp(row) < 1e-9 else left / left.sum()
    left = np.array([(1 if kind == "one_minus" else row.max()) - w for w in row])
    return None if left.sum() < 1e-9 or (kind == "one_minus" and len(row) < 2) else left / left.sum()


def slow_ccr(pairs: Pairs, kind: str) -> list[list[float]]:
    """Losses of the valid fragments of each pair."""
    query, key, weight = (one.numpy() for one in pairs.parts())
    found = []
    for p in range(P):
        keys, losses = key[p][KEYS[p].numpy()], []
        for i in np.flatnonzero(QUERIES[p].numpy()):
            row = weight[p, i][KEYS[p].numpy()]
            back = slow_reverse(row, kind)
            if back is not None:
                losses.append(max(0.0, MARGIN - cos(query[p, i], row @ keys) + cos(query[p, i], back @ keys)))
        found.append(losses)
    return found


def slow_ccs(pairs: Pairs, swap: str, others: Pairs | None, chosen: Tensor | None) -> list[list[float]]:
    """Losses by content or query swap; the hardest of the allowed, or the given one, of this or another caption."""
    query, key, weight = (one.numpy() for one in pairs.parts())
    query2, _, weight2 = (one.numpy() for one in (others or pairs).parts())
    found = []
    for p in range(P):
        seen = KEYS[p].numpy()
        a, b, losses = weight[p][:, seen] @ key[p][seen], weight2[p][:, seen] @ key[p][seen], []
        for i in np.flatnonzero(QUERIES[p].numpy()):
            allowed = [
                j for j in np.flatnonzero(QUERIES[p].numpy())
                if (GROUPS[p, j] >= 0 and i != j and GROUPS[p, i] != GROUPS[p, j] if others is None
                    else OTHERS[p, j] >= 0 and OTHERS[p, j] not in GROUPS[p][QUERIES[p]])
            ]  # fmt: skip
            if not allowed:
                continue
            allowed = [int(chosen[p, i])] if chosen is not None else allowed
            kept = cos(query[p, i], a[i])
            content = max(max(0.0, MARGIN - kept + cos(query[p, i], b[j])) for j in allowed)
            swapped = max(max(0.0, MARGIN - kept + cos(query2[p, j], a[i])) for j in allowed)
            losses.append({"content": content, "query": swapped, "both": (content + swapped) / 2}[swap])
        found.append(losses)
    return found


def assert_loops(found: Losses, slow: list[list[float]]) -> None:
    assert found.valid.sum(1).tolist() == [len(row) for row in slow]
    for p, row in enumerate(slow):
        assert np.abs(found.loss[p][found.valid[p]].detach().numpy() - np.array(row)).max(initial=0) < 1e-9
    means, has = found.of_pairs()
    assert has.tolist() == [len(row) > 0 for row in slow]
    assert means.tolist() == pytest.approx([float(np.mean(row)) if row else 0.0 for row in slow])


def ccr(record: AttentionRecord, reverse: str = "one_minus", margin: float = MARGIN) -> Losses:
    return constraints.resourcing(record, Cosine(record), REVERSES[reverse], margin)


def ccs(
    record: AttentionRecord,
    swap: str = "content",
    other: AttentionRecord | None = None,
    mine: constraints.Mine = constraints.hardest,
    margin: float = MARGIN,
) -> Losses:
    same = constraints.fragments_of_the_same_pair(record)
    allowed = same if other is None else constraints.fragments_of_another_pair(record, other)
    return constraints.swapping(record, other or record, Cosine(record), allowed, SWAPS[swap], mine, margin)


@pytest.mark.parametrize("kind", REVERSES)
def test_ccr_is_its_loop(kind: str) -> None:
    assert_loops(ccr(Pairs().record(), kind), slow_ccr(Pairs(), kind))


@pytest.mark.parametrize("swap", ["content", "query", "both"])
def test_ccs_is_its_loop_within_and_between_captions(swap: str) -> None:
    pairs, others = Pairs(), Pairs(1, OTHERS)
    others.key = pairs.key
    assert_loops(ccs(pairs.record(), swap), slow_ccs(pairs, swap, None, None))
    assert_loops(ccs(pairs.record(), swap, others.record()), slow_ccs(pairs, swap, others, None))


def test_a_given_swap_is_taken_and_draws_are_even() -> None:
    pairs, chosen = Pairs(), torch.tensor([[1, 3, 3, 0], [0, 0, 0, 0], [2, 2, 0, 0]])
    mine = constraints.drawn(torch.nn.functional.one_hot(chosen, N).double())
    assert_loops(ccs(pairs.record(), "both", mine=mine), slow_ccs(pairs, "both", None, chosen))
    allowed = torch.tensor([[[False, True, True, False]]])
    noise = torch.rand(2000, 1, 4, generator=torch.Generator().manual_seed(0))
    negatives = torch.arange(4.0).expand(2000, 1, 4)
    found = constraints.drawn(noise)(negatives, allowed.expand(2000, 1, 4))
    assert set(found.unique().tolist()) == {1, 2} and 0.45 < (found == 1).double().mean() < 0.55


def test_the_record_form_is_the_cosine_of_vectors_that_are_built() -> None:
    pairs, others = Pairs(), Pairs(1)
    others.key = pairs.key
    record, other, (query, key, weight) = pairs.record(), others.record(), pairs.parts()
    own, theirs, kept = weight @ key, other.weight @ key, attends(record)
    assert torch.allclose(Cosine(record).of(weight)[kept], cosine_similarity(query, own, dim=-1)[kept], atol=1e-12)
    for queries, attended, swapped in ((others.parts()[0], theirs, other), (query, own, record)):
        content, asked = Cosine(record).swapped(swapped)
        both = kept[..., None] & swapped.query_mask[:, None]
        wanted = cosine_similarity(query[:, :, None], attended[:, None], dim=-1)
        assert torch.allclose(content[both], wanted[both], atol=1e-12)
        wanted = cosine_similarity(queries[:, None], own[:, :, None], dim=-1)
        assert torch.allclose(asked[both], wanted[both], atol=1e-12)


def test_uniform_weights_lose_exactly_the_margin_and_one_key_nothing() -> None:
    weight = (KEYS.double() / KEYS.sum(1, keepdim=True))[:, None].expand(P, N, M)
    found = ccr(Pairs().record(weight=weight))
    assert torch.allclose(found.loss[found.valid], torch.tensor(MARGIN, dtype=torch.float64)) and found.valid.any()
    for kind in ("max_minus", "bottom_mass"):
        assert not ccr(Pairs().record(weight=weight), kind).valid.any()
    single = torch.zeros(P, M, dtype=torch.bool).index_fill(1, torch.tensor([2]), True)
    one = Pairs().record(key_mask=single, weight=single.double()[:, None].expand(P, N, M))
    for kind in REVERSES:
        found = ccr(one, kind)
        assert not found.valid.any() and torch.isfinite(found.loss).all() and not found.of_pairs()[1].any()


def test_what_max_minus_leaves_the_top_key() -> None:
    weight = torch.tensor([[[0.5, 0.3, 0.2, 0.0]]])
    reversed_weight, defined = constraints.max_minus(weight, torch.tensor([[[True, True, True, False]]]))
    assert torch.allclose(reversed_weight, torch.tensor([[[0.0, 0.4, 0.6, 0.0]]])) and defined.all()
    reversed_weight, _ = constraints.one_minus(weight, torch.tensor([[[True, True, True, False]]]))
    assert torch.allclose(reversed_weight, torch.tensor([[[0.25, 0.35, 0.4, 0.0]]]))


def test_what_bottom_mass_leaves() -> None:
    weight, mask = torch.tensor([[[0.1, 0.5, 0.0, 0.3, 0.1]]]), torch.tensor([[[True, True, False, True, True]]])
    for held, outside in ((0.4, [0, 3, 4]), (0.5, [0, 3, 4]), (0.6, [0, 4]), (0.85, [4])):
        left, defined = constraints.bottom_mass(weight, mask, held)
        assert left[0, 0].nonzero()[:, 0].tolist() == outside and left.sum() == pytest.approx(1) and defined.all()
    assert not constraints.bottom_mass(weight, mask, 0.99)[1].any(), "all are needed"


def test_relevance_of_a_swap_with_itself_is_the_positive_and_symmetry_makes_the_swaps_one() -> None:
    record = Pairs().record()
    content, query = Cosine(record).swapped(record)
    assert torch.allclose(content.diagonal(dim1=1, dim2=2), Cosine(record).of(record.weight), atol=1e-12)
    assert torch.allclose(query, content.transpose(1, 2), atol=1e-12)
    basis = torch.eye(4, dtype=torch.float64).expand(P, 4, 4)
    swap = 0.7 * basis + 0.3 * basis.flip(1)
    everyone = torch.ones(P, 4, dtype=torch.bool)
    symmetric = AttentionRecord(basis, swap, basis, basis.norm(dim=-1), everyone, everyone, None, "t2i")
    assert torch.allclose(ccs(symmetric, "content").loss, ccs(symmetric, "query").loss)


def test_the_same_word_is_never_a_negative_and_who_has_none_is_left_out() -> None:
    allowed = constraints.fragments_of_the_same_pair(Pairs().record())
    assert allowed[0].int().tolist() == [[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]]
    assert not allowed[1, :3].any() and allowed[2].int().tolist()[0] == [0, 0, 1, 0]
    assert ccs(Pairs().record()).valid.int().tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]]
    free = constraints.fragments_of_the_same_pair(Pairs(groups=None).record())
    assert free[0].sum() == 12 and free[1].sum() == 9  # the padded row asks, and counts nowhere


def test_the_words_of_the_animals_names_are_one_thing_and_no_word_is_swapped_in_for_itself() -> None:
    """Within a pair "red" and "deer" are one; of another pair come no words that its own text has, nor "animal"."""
    roe, red, deer, night, day = range(5)
    own = Pairs(groups=torch.tensor([[ANIMAL + roe, ANIMAL + deer, night, -1]] * P)).record()
    theirs = Pairs(groups=torch.tensor([[ANIMAL + red, ANIMAL + deer, day, night]] * P)).record()
    within = constraints.fragments_of_the_same_pair(own)
    assert within[0].int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    group = torch.tensor([[ANIMAL + roe, EVERY, night, -1]] * P)
    assert torch.equal(constraints.fragments_of_the_same_pair(replace(own, query_group=group)), within)
    between = constraints.fragments_of_another_pair(own, theirs)
    assert between[0].int().tolist() == [[1, 0, 1, 0]] * N
    every = replace(theirs, query_group=torch.tensor([[ANIMAL + EVERY, EVERY, -1, deer]] * P))
    assert not constraints.fragments_of_another_pair(own, every).any()


def wider(record: AttentionRecord) -> AttentionRecord:
    """With two more padded queries and three more padded keys."""
    assert record.query_group is not None
    return replace(
        record,
        sim=pad(record.sim, [0, 3, 0, 2], value=7.0),
        weight=pad(pad(record.weight, [0, 3]), [0, 0, 0, 2], value=7.0),
        gram=pad(record.gram, [0, 3, 0, 3], value=7.0),
        query_norm=pad(record.query_norm, [0, 2], value=7.0),
        query_mask=pad(record.query_mask, [0, 2]),
        key_mask=pad(record.key_mask, [0, 3]),
        query_group=pad(record.query_group, [0, 2], value=8),
    )


@pytest.mark.parametrize("kind", [*REVERSES, *SWAPS, "another"])
def test_padding_changes_nothing_whatever_is_in_it_and_however_much_there_is(kind: str) -> None:
    pairs, others = Pairs(), Pairs(1, OTHERS)
    others.key = pairs.key

    def of(own: AttentionRecord, other: AttentionRecord) -> Losses:
        if kind in REVERSES:
            return ccr(own, kind)
        return ccs(own, "both", other) if kind == "another" else ccs(own, kind)

    plain = of(pairs.record(), others.record())
    more = of(wider(pairs.record()), wider(others.record()))
    pairs.garbage = others.garbage = -300.0
    changed = of(pairs.record(), others.record())
    assert plain.valid.any() and not more.valid[:, N:].any()
    for one in (changed, Losses(*(part[:, :N] for part in more))):
        assert torch.equal(one.valid, plain.valid)
        assert all(torch.allclose(a[plain.valid], b[plain.valid], atol=1e-12) for a, b in zip(one, plain, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 20.0), st.sampled_from(list(SWAPS)), st.sampled_from(list(REVERSES)))
def test_losses_are_bounded_and_blind_to_scale_order_and_padding(seed: int, scale: float, swap: str, kind: str) -> None:
    pairs, order = Pairs(seed), torch.randperm(M, generator=torch.Generator().manual_seed(seed))
    record = pairs.record()
    scaled = replace(record, sim=record.sim * scale, query_norm=record.query_norm * scale)
    shuffled = replace(
        record,
        sim=record.sim[..., order],
        weight=record.weight[..., order],
        gram=record.gram[:, order][..., order],
        key_mask=KEYS[:, order],
    )
    for of in (lambda one: ccr(one, kind), lambda one: ccs(one, swap)):
        found = of(record)
        assert ((found.loss >= 0) & (found.loss <= MARGIN + 2 + 1e-9))[found.valid].all()
        for other in (scaled, shuffled):
            changed = of(other)
            assert torch.equal(changed.valid, found.valid)
            assert torch.allclose(changed.loss[found.valid], found.loss[found.valid], atol=1e-9)


@pytest.mark.parametrize("kind", [*REVERSES, *SWAPS])
def test_gradients_are_central_differences(kind: str) -> None:
    pairs = Pairs(2)

    def total(query: Tensor, key: Tensor, logits: Tensor) -> Tensor:
        pairs.query, pairs.key, pairs.logits = query, key, logits
        found = ccr(pairs.record(), kind) if kind in REVERSES else ccs(pairs.record(), kind)
        return found.of_pairs()[0]

    leaves = [one.clone().requires_grad_() for one in (pairs.query, pairs.key, pairs.logits)]
    assert torch.autograd.gradcheck(total, leaves, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_finite_at_the_edges(dtype: torch.dtype) -> None:
    """One-hot weights, attended content of length 0, a pair without a valid key, half precision."""
    pairs = Pairs(dtype=torch.float32)
    pairs.key[0, :2] = torch.stack([torch.ones(D), -torch.ones(D)])
    weight = torch.zeros(P, N, M)
    weight[0, 0, :2], weight[0, 1:, 3], weight[1, :, 0] = 0.5, 1.0, 1.0
    keys = KEYS.clone()
    keys[2] = False
    made = pairs.record(weight=weight, key_mask=keys)
    leaves = [one.to(dtype).requires_grad_() for one in (made.sim, made.weight, made.gram, made.query_norm)]
    sim, weight, gram, norm = (one.float() for one in leaves)
    record = replace(made, sim=sim, weight=weight, gram=gram, query_norm=norm)
    losses = [ccr(record, kind) for kind in REVERSES] + [ccs(record, swap) for swap in SWAPS]
    torch.stack([one.of_pairs()[0].sum() for one in losses]).sum().backward()
    assert all(torch.isfinite(one.loss).all() and not one.valid[2].any() for one in losses)
    assert all(one.grad is not None and torch.isfinite(one.grad).all() for one in leaves)


def test_figures_are_means_over_the_fragments_that_count() -> None:
    """Two directions of different sizes count fragment by fragment; what is not valid, or of a padded row, nowhere."""
    loss, positive, negative = (torch.tensor([row]) for row in ([0.5, 0.0, 9.0], [0.2, 0.8, 9.0], [0.4, 0.1, 9.0]))
    first = Losses(loss, positive, negative, torch.tensor([[True, True, False]]))
    second = Losses(torch.tensor([[1.0]]), torch.tensor([[-0.7]]), torch.tensor([[0.1]]), torch.tensor([[True]]))
    weight = torch.full((1, 3, 4), 0.25)
    weight[0, 1] = torch.tensor([1.0, 0, 0, 0])
    everyone = torch.ones(1, 4, dtype=torch.bool)
    record = AttentionRecord(weight, weight, weight, weight[..., 0], everyone[:, :3], everyone, None, "t2i")
    assert entropy(record).tolist() == [[1.0, 0.0, 1.0]]
    back = replace(record, weight=weight[:, :1], direction="i2t")
    told = figures([first, second], [record, back], torch.tensor([True]))
    wanted = {"active": 2 / 3, "r_pos": 0.1, "r_neg": 0.2, "entropy": 2 / 3}
    assert {name: one.item() for name, one in told.items()} == pytest.approx(wanted)
    assert not any(figures([first, second], [record, back], torch.tensor([False])).values())


@pytest.mark.parametrize("name", ["ccr", "content", "query"])
def test_free_attention_moves_to_the_relevant_keys(name: str) -> None:
    """Features fixed, attention logits free and uniform at the start; three of twelve keys are relevant to a query."""
    generator = torch.Generator().manual_seed(0)
    query = torch.nn.functional.normalize(torch.randn(8, 4, 32, generator=generator), dim=-1)
    noise = torch.randn(8, 12, 32, generator=generator) / 32**0.5
    key = torch.nn.functional.normalize(query.repeat_interleave(3, dim=1) + noise, dim=-1)
    logits = torch.zeros(8, 4, 12, requires_grad=True)
    relevant = torch.arange(12)[None] // 3 == torch.arange(4)[:, None]
    queries, keys = torch.ones(8, 4, dtype=torch.bool), torch.ones(8, 12, dtype=torch.bool)
    for _ in range(60):
        weight = logits.softmax(-1)
        sim, gram = query @ key.transpose(1, 2), key @ key.transpose(1, 2)
        record = AttentionRecord(sim, weight, gram, query.norm(dim=-1), queries, keys, None, "t2i")
        found = ccr(record, margin=0.5) if name == "ccr" else ccs(record, name, margin=0.5)
        (gradient,) = torch.autograd.grad(found.of_pairs()[0].mean(), logits)
        logits = (logits - 20 * gradient).detach().requires_grad_()
    mass = (logits.softmax(-1) * relevant).sum(-1).mean().item()
    assert mass > 0.35  # 0.25 at the start; the hinge is satisfied well before 1
