"""A matcher in a training step: the local pairs' records, and the local rows' scores against the global batch.

Each worker scores its own texts with the images of all, whose regions come with gradient, in the matcher's space; so
do the scores by which its images meet the other workers' texts.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import pad

from xmodal.matchers.hosted import REDUCTIONS, PairScores, speaking
from xmodal.matchers.record import AttentionRecord, Direction
from xmodal.matchers.sides import Side, every

if TYPE_CHECKING:
    from xmodal.encodings import Encodings
    from xmodal.matchers.matcher import Matcher


class MatcherHosted:
    """A matcher's records and scores."""

    def __init__(self, matcher: "Matcher", encodings: "Encodings"):
        self.matcher, self.encodings = matcher, encodings
        self.reduce = REDUCTIONS[matcher.reduction]

    @cached_property
    def image(self) -> Side:
        """The local images."""
        return self.matcher.image_side(self.encodings.placed_tokens)

    @cached_property
    def text(self) -> Side:
        """The local texts; taken to have padding, as nearly every batch has."""
        return self.matcher.text_side(self.encodings.text_tokens, self.encodings.batch.text_mask, complete=False)

    @cached_property
    def images(self) -> Side:
        """The images of the global batch."""
        return every(self.encodings.layout.gather_with_grad(self.image.vectors))

    @cached_property
    def texts(self) -> Side:
        """The texts of the global batch."""
        layout, more = self.encodings.layout, self.encodings.longest_text - self.text.fragments
        vectors = layout.gather_with_grad(pad(self.text.vectors, [0, 0, 0, more]))
        return Side(vectors, layout.gather(pad(self.text.mask, [0, more]).int()).bool(), complete=False)

    @cached_property
    def scores(self) -> PairScores:
        """Every pair is scored once, by the worker that has its text."""
        layout, images = self.encodings.layout, self.matcher.score_all_pairs(self.images, self.text).T
        return PairScores(layout.gather_with_grad(images)[:, layout.own].T, images)

    @cached_property
    def records(self) -> list[AttentionRecord]:
        groups: dict[str, Tensor | None] = {"t2i": self.encodings.batch.words}
        return [speaking(one) for one in self.matcher.records(self.image, self.text, groups)]

    def other(self, record: AttentionRecord, rows: Tensor) -> AttentionRecord:
        return speaking(self.matcher.record(record.direction, *self._others[record.direction](rows)))

    @property
    def _others(self) -> dict[Direction, Callable[[Tensor], tuple[Side, Side, Tensor | None]]]:
        """By direction: the keys' side as it is, with the asking side of other rows, and its words."""
        return {
            "t2i": lambda rows: (self.image, self.texts.take(rows), self.encodings.gathered_words[rows]),
            "i2t": lambda rows: (self.images.take(rows), self.text, None),
        }
