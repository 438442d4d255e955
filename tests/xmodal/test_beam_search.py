"""Beam search against exhaustive search, greedy decoding by hand, and tables whose best captions are known."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xmodal.beam_search import Scores, beam_search
from xmodal.fusion import CaptionDecoder, DecoderSettings
from xmodal.wordpiece import CLS, MASK, PAD, SEP, UNK

V, LENGTH = 8, 4
WORDS = [piece for piece in range(V) if piece not in (PAD, UNK, CLS, MASK)]  # [SEP] and three words
EVERY = len(WORDS) ** (LENGTH - 1)
"""No more beginnings than these exist, so a search of so many beams leaves none out."""
CPU = torch.device("cpu")


def table(images: int, seed: int) -> Scores:
    """Logits drawn for each image and beginning, [PAD] and its like excluded."""
    never = torch.zeros(V).index_fill(0, torch.tensor([PAD, UNK, CLS, MASK]), -torch.inf)

    def scores(captions: Tensor, owner: Tensor) -> Tensor:
        rows = [
            2 * torch.randn(V, generator=torch.Generator().manual_seed(hash((seed, int(one), *ids)) % 2**31))
            for ids, one in zip(captions.tolist(), owner, strict=True)
        ]
        return torch.stack(rows) + never

    return scores


def whole_captions() -> list[list[int]]:
    """Every caption of the tiny vocabulary: words, then [SEP] or the end of the places."""
    found = []
    for words in range(LENGTH):
        for chosen in itertools.product([one for one in WORDS if one != SEP], repeat=words):
            found.append([CLS, *chosen] if words == LENGTH - 1 else [CLS, *chosen, SEP])
    return found


def log_probability(scores: Scores, image: int, caption: list[int]) -> float:
    """Sum over the pieces after [CLS], one beginning at a time."""
    total = 0.0
    for end in range(1, len(caption)):
        logits = scores(torch.tensor([caption[:end]]), torch.tensor([image]))[0].double()
        total += float(logits[caption[end]]) - math.log(sum(math.exp(one) for one in logits.tolist()))
    return total


def best_of_all(scores: Scores, image: int, power: float) -> list[int]:
    def score(caption: list[int]) -> float:
        return log_probability(scores, image, caption) / (len(caption) - 1) ** power

    return max(whole_captions(), key=score)


def unpadded(row: list[int]) -> list[int]:
    return [piece for piece in row if piece != PAD]


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_a_beam_that_leaves_nothing_out_finds_the_best_caption_of_all(power: float) -> None:
    scores = table(3, seed=4)
    found = beam_search(scores, 3, LENGTH, EVERY, CPU, power).tolist()
    assert [unpadded(row) for row in found] == [best_of_all(scores, image, power) for image in range(3)]


def greedy(scores: Scores, image: int) -> list[int]:
    caption = [CLS]
    while len(caption) < LENGTH and caption[-1] != SEP:
        caption.append(int(scores(torch.tensor([caption]), torch.tensor([image]))[0].argmax()))
    return caption


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_one_beam_is_greedy_and_an_exact_search_is_never_less_probable(seed: int, images: int) -> None:
    scores = table(images, seed)
    by_hand = [greedy(scores, image) for image in range(images)]
    assert [unpadded(row) for row in beam_search(scores, images, LENGTH, 1, CPU).tolist()] == by_hand
    exact = beam_search(scores, images, LENGTH, EVERY, CPU, power=0.0).tolist()
    for image, (row, own) in enumerate(zip(exact, by_hand, strict=True)):
        assert log_probability(scores, image, unpadded(row)) >= log_probability(scores, image, own) - 1e-12


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_images_do_not_touch_each_other_and_rows_are_well_formed(seed: int, beams: int) -> None:
    scores = table(4, seed)
    together = beam_search(scores, 4, LENGTH, beams, CPU).tolist()
    for image, row in enumerate(together):
        alone = beam_search(lambda ids, own, image=image: scores(ids, own + image), 1, LENGTH, beams, CPU)
        assert unpadded(row) == unpadded(alone[0].tolist())
        words, padding = unpadded(row), row[len(unpadded(row)) :]
        assert words[0] == CLS and set(padding) <= {PAD} and not {PAD, UNK, CLS, MASK} & set(words[1:])
        assert SEP not in words[:-1] and (words[-1] == SEP or len(words) == LENGTH)
    assert max(len(unpadded(row)) for row in together) == len(together[0])


def chain(steps: dict[tuple[int, ...], dict[int, float]]) -> Scores:
    """Probabilities by beginning; what a beginning does not name has none."""

    def scores(captions: Tensor, owner: Tensor) -> Tensor:
        logits = torch.full((len(captions), V), -torch.inf)
        for row, ids in enumerate(captions.tolist()):
            for piece, share in steps[tuple(ids[1:])].items():
                logits[row, piece] = math.log(share)
        return logits

    return scores


def test_two_beams_find_what_greedy_misses_and_length_is_divided_out() -> None:
    steps = {(): {5: 0.6, 6: 0.4}, (5,): {5: 0.5, 6: 0.5}, (6,): {SEP: 0.9, 5: 0.1}}
    steps |= {(5, 5): {SEP: 1.0}, (5, 6): {SEP: 1.0}, (6, 5): {SEP: 1.0}}
    assert beam_search(chain(steps), 1, LENGTH, 1, CPU).tolist() == [[CLS, 5, 5, SEP]]  # 0.6 * 0.5
    assert beam_search(chain(steps), 1, LENGTH, 2, CPU, power=0.0).tolist() == [[CLS, 6, SEP]]  # 0.4 * 0.9
    short = {(): {SEP: 0.5, 5: 0.5}, (5,): {5: 0.9, 6: 0.1}, (5, 5): {SEP: 0.9, 6: 0.1}, (5, 6): {SEP: 1.0}}
    short |= {(5, 5, 6): {SEP: 1.0}}
    assert beam_search(chain(short), 1, LENGTH, 3, CPU, power=0.0).tolist() == [[CLS, SEP]]
    assert beam_search(chain(short), 1, LENGTH, 3, CPU, power=1.0).tolist() == [[CLS, 5, 5, SEP]]


def test_equal_scores_go_to_the_better_beginning_then_the_lower_id() -> None:
    even = chain({(): {5: 0.5, 6: 0.5}, (5,): {SEP: 1.0}, (6,): {SEP: 1.0}})
    assert [beam_search(even, 2, LENGTH, beams, CPU).tolist() for beams in (1, 2, 3)] == [[[CLS, 5, SEP]] * 2] * 3


def test_what_has_ended_is_not_computed_again() -> None:
    rows: list[list[int]] = []
    ending = chain({(): {SEP: 0.6, 5: 0.4}, (5,): {5: 1.0}, (5, 5): {5: 1.0}, (5, 5, 5): {5: 1.0}})

    def counted(captions: Tensor, owner: Tensor) -> Tensor:
        rows.append(list(captions.shape))
        assert SEP not in captions and (owner.diff() >= 0).all()
        return ending(captions, owner)

    assert beam_search(counted, 3, LENGTH, 2, CPU, power=0.0).tolist() == [[CLS, SEP]] * 3
    assert rows == [[3, 1]]  # 0.4 can no longer become more than 0.6
    rows.clear()
    beam_search(counted, 3, LENGTH, 2, CPU)
    assert rows == [[3, 1], [3, 2], [3, 3]]  # one of two places goes on: log 0.4 / 3 wins


def test_nothing_to_caption_and_no_room_for_words() -> None:
    scores = table(2, 0)
    assert beam_search(scores, 0, LENGTH, 3, CPU).shape == (0, 1)
    assert beam_search(scores, 2, 1, 3, CPU).tolist() == [[CLS]] * 2
    assert beam_search(scores, 2, 2, 3, CPU).shape == (2, 2)


def decoder_of(seed: int) -> CaptionDecoder:
    torch.manual_seed(seed)
    return DecoderSettings(width=16, heads=2).build(V, LENGTH, 10)


@pytest.mark.parametrize("seed", range(4))
def test_the_decoder_searches_its_own_logits(seed: int) -> None:
    decoder = decoder_of(seed)
    with torch.no_grad():
        decoder.token.weight.mul_(20)
    image = 3 * torch.randn(3, 4, 10)

    def scores(captions: Tensor, owner: Tensor) -> Tensor:
        with torch.no_grad():
            logits = decoder(captions, image[owner])[:, -1]
        return logits.index_fill(1, torch.tensor([PAD, UNK, CLS, MASK]), -torch.inf)

    ids = decoder.generate(image, LENGTH, EVERY).tolist()
    assert [unpadded(row) for row in ids] == [best_of_all(scores, n, 1.0) for n in range(3)]
