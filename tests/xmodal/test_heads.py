"""Heads: masked pooling, standardised features, unit vectors."""

import torch

from tests.xmodal import tiny
from xmodal.heads import MLP, Head, Linear, Standardise, Tokenwise, build
from xmodal.pooling import Mean

pooled = Mean()


def test_pooling_ignores_padding() -> None:
    tokens, mask = torch.randn(3, 5, 4), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]).bool()
    spoilt = tokens.masked_fill(~mask[..., None], 7.0)
    assert torch.equal(pooled(tokens, mask)[1], tokens[1].mean(0)) or torch.allclose(
        pooled(tokens, mask)[1], tokens[1].mean(0)
    )
    torch.testing.assert_close(
        pooled(spoilt, mask), torch.stack([tokens[0, :3].mean(0), tokens[1].mean(0), tokens[2, 0]])
    )


def test_standardise_gives_mean_zero_and_deviation_one() -> None:
    vectors = torch.randn(200, 3) * torch.tensor([100.0, 0.01, 0.0]) + torch.tensor([5.0, -1.0, 2.0])
    norm = Standardise(3)
    norm.fit(vectors)
    made = norm(vectors)
    torch.testing.assert_close(made.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(made.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-3, rtol=0)


def test_both_heads_give_unit_vectors_of_the_shared_width() -> None:
    for settings in (Linear(kind="linear"), MLP(kind="mlp", hidden=6)):
        head = Head(settings, torch.nn.LayerNorm(4), 4, 5).eval()
        made = head(torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))
        assert made.shape == (2, 5)
        torch.testing.assert_close(made.norm(dim=1), torch.ones(2))


def test_a_tokenwise_head_projects_each_token_and_pools_then() -> None:
    tokens, mask = torch.randn(2, 4, 6), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    head = build(Tokenwise(kind="tokenwise", hidden=5), True, 6, 3, Mean())
    assert isinstance(head.direct, torch.nn.Linear) and isinstance(head.added, torch.nn.Sequential)
    projected = head.direct(tokens) + head.added(tokens)
    wanted = torch.stack([projected[0, :3].mean(0), projected[1].mean(0)])
    torch.testing.assert_close(head(tokens, mask), torch.nn.functional.normalize(wanted, dim=1))
    plain = build(Tokenwise(kind="tokenwise"), False, 6, 3, Mean())
    torch.testing.assert_close(plain(tokens, mask).norm(dim=1), torch.ones(2))


def test_batch_statistics_are_over_the_tokens_of_all_rows() -> None:
    head = build(Tokenwise(kind="tokenwise", hidden=5, norm="batch"), True, 6, 3, Mean())
    assert isinstance(head.added, torch.nn.Sequential)
    made = head.added[:2](torch.randn(8, 4, 6))
    torch.testing.assert_close(made.mean((0, 1)), torch.zeros(5), atol=1e-5, rtol=0)


def test_the_text_tower_may_have_a_head_of_its_own() -> None:
    built = tiny.model(head={"kind": "tokenwise", "hidden": 4}, text_head={"kind": "linear"}, pooling={"kind": "gpo"})
    assert type(built.query.image.head).__name__ == "TokenwiseHead" and isinstance(built.query.text.head, Head)
    assert built.standardised == []


def test_a_model_fits_norms_behind_frozen_encoders_only_and_the_key_encoder_gets_them() -> None:
    trained = tiny.model()
    assert trained.standardised == []
    encoder = {"kind": "hugging_face", "config": {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2}}
    small = {"num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 40, "max_position_embeddings": 16}
    frozen = tiny.model(
        text={**encoder, "config": encoder["config"] | small, "frozen": True, "pool": "mean", "length": 8}
    )
    vectors = torch.randn(50, 8) + 3
    frozen.fit_norms(torch.zeros(1, 8), vectors)
    (norm,) = frozen.standardised
    copied = [one for one in frozen.key.modules() if isinstance(one, Standardise)]
    torch.testing.assert_close(norm.mean, vectors.mean(0))
    torch.testing.assert_close(copied[0].mean, norm.mean)
