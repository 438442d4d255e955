"""The BiGRU text encoder against a loop over the GRU's equations."""

import numpy as np
import torch

from tests.xmodal import tiny
from tests.xmodal.test_pooling import gru_states
from xmodal.encoders.bigru import BiGRU, BiGRUEncoder
from xmodal.wordpiece import SEP

SMALL = BiGRU(kind="bigru", length=8, word_dim=6, width=5)


def test_a_piece_is_the_mean_of_both_directions_and_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    encoder = SMALL.build(tiny.wordpiece())
    ids, lengths = torch.randint(0, tiny.VOCABULARY, (4, 8)), [8, 2, 5, 1]
    mask = torch.arange(8) < torch.tensor(lengths)[:, None]
    found = encoder(ids, mask).detach().numpy()
    for row, length in enumerate(lengths):
        words = encoder.word(ids[row, :length]).detach().double().numpy()
        forward, backward = gru_states(encoder.gru, words, ""), gru_states(encoder.gru, words[::-1], "_reverse")[::-1]
        assert np.abs(found[row, :length] - (np.array(forward) + np.array(backward)) / 2).max() < 1e-6
        assert (found[row, length:] == 0).all()
    assert torch.allclose(encoder(ids.masked_fill(~mask, 7), mask), encoder(ids, mask))


def test_it_starts_as_scan_does_and_takes_a_text_of_nothing() -> None:
    encoder = SMALL.build(tiny.wordpiece())
    assert encoder.word.weight.abs().max() <= 0.1 and encoder.width == 5
    assert encoder(*encoder.tokenize([""])).shape == (1, 2, 5)
    assert encoder(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool)).isfinite().all()


def test_no_rows_a_long_text_and_one_word() -> None:
    encoder = SMALL.build(tiny.wordpiece())
    nothing = encoder(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.bool))
    assert nothing.shape == (0, 3, 5)
    nothing.sum().backward()
    assert encoder.gru.weight_hh_l0.grad is not None, "a rank without rows takes part in the step"
    ids, mask = encoder.tokenize(["w1 " * 40, "w2"])
    assert ids.shape == (2, 8) and ids[0, -1] == SEP and mask.sum(1).tolist() == [8, 3]


def test_a_model_trains_with_it() -> None:
    text = {"kind": "bigru", "length": 8, "word_dim": 6, "width": 5}
    built = tiny.model(text=text, tasks={"itc": {}, "uto": {}})
    assert isinstance(built.query.text.encoder, BiGRUEncoder)
    optimizer = torch.optim.SGD(built.parameters(), 0.1)
    before = built.key.encoder.text.encoder.gru.weight_hh_l0.clone()
    for step in range(2):
        tiny.step(built, optimizer, tiny.batch(4, step=step))
    assert not torch.equal(before, built.key.encoder.text.encoder.gru.weight_hh_l0)
