"""Fusion encoder and caption decoder: masks, causality, greedy generation."""

import pytest
import torch
from torch import Tensor, nn

from xmodal.fusion import CaptionDecoder, DecoderSettings, FusionEncoder, FusionSettings
from xmodal.wordpiece import CLS, MASK, PAD, SEP, UNK

V, C = 20, 8


@pytest.fixture
def fusion() -> FusionEncoder:
    torch.manual_seed(0)
    return FusionSettings(width=16, heads=2).build(12, 10)


@pytest.fixture
def decoder() -> CaptionDecoder:
    torch.manual_seed(0)
    return DecoderSettings(width=16, heads=2).build(V, C, 10)


def test_fusion_depends_on_text_and_image(fusion: FusionEncoder):
    text, mask, image = torch.randn(2, 4, 12), torch.ones(2, 4, dtype=torch.bool), torch.randn(2, 3, 10)
    out = fusion(text, mask, image)
    assert out.shape == (2, 4, fusion.width)
    assert not torch.allclose(fusion(text, mask, image.flip(0)), out)
    assert torch.allclose(fusion(text, mask, image[:, [2, 0, 1]]), out, atol=1e-6)  # a set of image tokens


def test_fusion_padding_changes_nothing(fusion: FusionEncoder):
    text, image = torch.randn(2, 4, 12), torch.randn(2, 3, 10)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    filled = text.masked_fill(~mask[..., None], 7.0)
    out = fusion(text, mask, image)
    assert torch.equal(fusion(filled, mask, image)[mask], out[mask])
    assert torch.allclose(fusion(text[1:, :2], mask[1:, :2], image[1:])[0], out[1, :2], atol=1e-6)
    assert fusion(text, torch.zeros_like(mask), image).isfinite().all()


def captions() -> Tensor:
    return torch.tensor([[CLS, 7, 8, 9, SEP, PAD], [CLS, 11, 12, 13, 14, SEP]])


def test_decoder_is_causal(decoder: CaptionDecoder):
    image, ids = torch.randn(2, 3, 10), captions()
    logits = decoder(ids, image)
    assert logits.shape == (2, 6, V)
    for cut in range(1, 6):
        changed = ids.clone()
        changed[:, cut:] = 7
        assert torch.equal(decoder(changed, image)[:, :cut], logits[:, :cut])
        assert torch.allclose(decoder(ids[:, :cut], image), logits[:, :cut], atol=1e-6)
    assert not torch.allclose(decoder(ids, image.flip(0)), logits)


def test_decoder_refuses_what_is_too_long(decoder: CaptionDecoder):
    with pytest.raises(ValueError, match="captions of 8 tokens, not 9"):
        decoder(torch.zeros(1, 9, dtype=torch.int64), torch.randn(1, 3, 10))


def test_output_shares_the_input_embedding(decoder: CaptionDecoder):
    assert sum(value.shape[0] == V for value in decoder.parameters()) == 1
    decoder(captions(), torch.randn(2, 3, 10)).square().sum().backward()
    assert all(value.grad is not None for value in decoder.parameters())


def greedy_by_hand(decoder: CaptionDecoder, image: Tensor, length: int) -> list[int]:
    """One caption at a time, the best allowed piece at each place."""
    caption = [CLS]
    while len(caption) < length and caption[-1] != SEP:
        logits = decoder(torch.tensor([caption]), image[None])[0, -1].tolist()
        allowed = [piece for piece in range(V) if piece not in (PAD, UNK, CLS, MASK)]
        caption.append(max(allowed, key=lambda piece: logits[piece]))
    return caption


def test_generate_is_greedy_row_by_row(decoder: CaptionDecoder):
    with torch.no_grad():
        decoder.token.weight[SEP] += 0.02 * torch.randn(16)  # so that some captions end early
    image = 3 * torch.randn(6, 3, 10)
    ids = decoder.generate(image, C)
    for row, one in zip(ids.tolist(), image, strict=True):
        want = greedy_by_hand(decoder, one, C)
        assert row == want + [PAD] * (len(row) - len(want))


def test_generate_never_emits_what_is_no_text(decoder: CaptionDecoder):
    with torch.no_grad():
        decoder.token.weight[[PAD, UNK, CLS, MASK]] *= 1000
    ids = decoder.generate(torch.randn(4, 3, 10), 6)
    assert ids.shape == (4, 6) and (ids[:, 0] == CLS).all()
    for row in ids[:, 1:].tolist():
        before_end = row[: row.index(SEP)] if SEP in row else row
        assert not {PAD, UNK, CLS, MASK} & set(before_end)


def test_generate_stops_when_all_have_ended(decoder: CaptionDecoder):
    decoder.never[SEP] = 1e4
    assert decoder.generate(torch.randn(3, 2, 10), C).tolist() == [[CLS, SEP]] * 3
    assert decoder.generate(torch.randn(0, 2, 10), C).shape[0] == 0
    assert decoder.generate(torch.randn(2, 2, 10), 1).tolist() == [[CLS]] * 2


def test_decoder_learns_a_caption_for_each_image():
    torch.manual_seed(0)
    decoder = DecoderSettings(width=32, depth=1).build(V, C, 10)
    image, ids = torch.randn(2, 3, 10), captions()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        logits = decoder(ids[:, :-1], image)
        nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD).backward()
        optimizer.step()
    assert decoder.generate(image, C).tolist() == ids.tolist()
