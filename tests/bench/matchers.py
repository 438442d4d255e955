"""Cross-attention scoring by one product and Gram matrices, against the release's loop over captions.

`python -m tests.bench.matchers [DEVICE]`: 36 regions, captions of 8 to 16 words, 1024 dimensions, one thread. Both
sides score the same vectors.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tests.bench import released
from tests.bench.frame import Comparison, Side, compare, show
from xmodal import constraints
from xmodal.matchers import sides
from xmodal.matchers.matcher import Matcher
from xmodal.matchers.scan import SCAN, Scan
from xmodal.metrics.streaming import streamed
from xmodal.relevance import Cosine

REGIONS, WORDS, WIDTH = 36, 16, 1024
EACH = 5
"""Captions of an image in the recall benchmark."""


class Pairs:
    """Unit vectors of images, and of captions with their lengths."""

    def __init__(self, images: int, captions: int, width: int = WIDTH, device: str = "cpu"):
        generator = torch.Generator().manual_seed(0)
        draw = partial(torch.randn, generator=generator)
        self.images = sides.l2norm(draw(images, REGIONS, width)).to(device)
        self.captions = sides.l2norm(draw(captions, WORDS, width)).to(device)
        length = torch.randint(8, WORDS + 1, (captions,), generator=generator)
        self.lengths: list[int] = length.tolist()
        self.mask = (torch.arange(WORDS) < length[:, None]).to(device)

    def sides(self) -> tuple[sides.Side, sides.Side]:
        everything = torch.ones(self.images.shape[:2], dtype=torch.bool, device=self.images.device)
        return sides.Side(self.images, everything), sides.Side(self.captions, self.mask)


def scan(direction: str) -> Matcher:
    return Scan(SCAN.model_validate({"kind": "scan", "direction": direction, "width": 1}), 1, 1)


def ours(host: Matcher, pairs: Pairs) -> Tensor:
    return host.score_all_pairs(*pairs.sides())


def theirs(direction: str, pairs: Pairs) -> Tensor:
    return released.scores(pairs.images, pairs.captions, pairs.lengths, direction)


def training(score: Callable[[Pairs], Tensor], pairs: Pairs) -> tuple[Tensor, Tensor]:
    """A step of the triplet loss: the gradients of both sides' vectors."""
    leaves = [one.detach().requires_grad_() for one in (pairs.images, pairs.captions)]
    held = Pairs.__new__(Pairs)
    held.__dict__.update(pairs.__dict__ | {"images": leaves[0], "captions": leaves[1]})
    image, caption = torch.autograd.grad(released.triplet(score(held)), leaves)
    return image, caption


def constrained(host: Matcher, pairs: Pairs, weight: float) -> Tensor:
    """The host's scores, and CCR and CCS of the matched pairs added to each of them, so that a step pays for both."""
    image, text = pairs.sides()
    scores = host.score_all_pairs(image, text)
    (record,) = host.records(image, text, {"t2i": torch.arange(WORDS, device=pairs.mask.device).expand(len(text), -1)})
    ccr = constraints.resourcing(record, Cosine(record), constraints.one_minus, 0.2)
    allowed = constraints.fragments_of_the_same_pair(record)
    swap = constraints.SWAPS["content"]
    ccs = constraints.swapping(record, record, Cosine(record), allowed, swap, constraints.hardest, 0.2)
    return scores + weight * (ccr.of_pairs()[0].mean() + ccs.of_pairs()[0].mean())


def our_ranks(host: Matcher, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """0-based ranks i2t and t2i, streamed."""
    image, text = pairs.sides()
    owner = torch.arange(len(text)) // EACH
    i2t, t2i = streamed(
        lambda rows, columns: host.score_all_pairs(image.take(rows), text.take(columns)), owner, len(image)
    )
    return i2t.rank, t2i.rank


def comparisons(device: str = "cpu") -> Iterator[Comparison]:
    """Scores in both directions, a training step, and recall at a size whose loop takes seconds."""
    torch.set_num_threads(1)
    pairs = Pairs(64, 64, device=device)
    for direction in ("t2i", "i2t"):
        host = scan(direction)
        sides_of = (partial(_scored, partial(ours, host), pairs), partial(_scored, partial(theirs, direction), pairs))
        yield _compared(f"SCAN {direction}, 64 x 64 pairs", 64 * 64, *sides_of)
    few, host = Pairs(48, 48, device=device), scan("t2i")
    steps = (partial(training, partial(ours, host), few), partial(training, partial(theirs, "t2i"), few))
    yield _compared("SCAN t2i, training step, 48 x 48 pairs", 48 * 48, *steps)
    wide = Pairs(96, 96, device=device)
    both = (
        partial(training, partial(constrained, host, weight=0.1), wide),
        partial(training, partial(ours, host), wide),
    )
    yield _compared("SCAN t2i, training step, 96 x 96 pairs", 96 * 96, *both, names=("with CCR and CCS", "without"))
    many = Pairs(48, 48 * EACH, device=device)
    ranks = (
        partial(_scored, partial(our_ranks, host), many),
        partial(released.recall, many.images, many.captions, many.lengths, EACH),
    )
    yield _compared("recall, 48 images x 240 captions, release in float64", 48 * 48 * EACH, *ranks)


def _scored(score: Callable[[Pairs], object], pairs: Pairs) -> object:
    with torch.no_grad():
        return score(pairs)


def _compared(
    title: str,
    pairs: int,
    one: Callable[[], object],
    two: Callable[[], object],
    names: tuple[str, str] = ("one product and Gram", "the release's loop"),
) -> Comparison:
    def side(name: str, act: Callable[[], object]) -> Side:
        def run() -> float:
            act()
            return pairs

        return Side(name, run)

    return compare(title, "pair", side(names[0], one), side(names[1], two))


if __name__ == "__main__":
    show(comparisons(*sys.argv[1:2]))
