"""Matcher: what every host is. Tokens of both encoders -> one space -> scores of all pairs, records of matched ones.

A host adds `block`, the scores of one block of pairs, and says how many numbers a pair needs. All is float32, under
autocast too: BFAN's masks stand on thresholds, and bfloat16 scores flip them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from xmodal.matchers.blocks import score_blocks
from xmodal.matchers.crossing import Crossing
from xmodal.matchers.in_batch import MatcherHosted
from xmodal.matchers.record import AttentionRecord, Direction
from xmodal.matchers.settings import HostSettings
from xmodal.matchers.sides import Side, every, full, l2norm
from xmodal.settings import SettingsError

if TYPE_CHECKING:
    from xmodal.encodings import Encodings


class Matcher(nn.Module, ABC):
    """A host over image tokens of `image_width` and text tokens of `text_width`."""

    def __init__(self, settings: HostSettings, image_width: int, text_width: int, crossings: Sequence[Crossing]):
        """`crossings` are the directions it attends in, in order. Raises SettingsError where `project_text` is off
        and the widths differ."""
        super().__init__()
        self.settings, self.crossings = settings, list(crossings)
        self.reduction, self.max_entries = settings.reduction, settings.max_entries
        self.image = nn.Linear(image_width, settings.width)
        self.text = nn.Linear(text_width, settings.width) if settings.project_text else nn.Identity()
        if not settings.project_text and text_width != settings.width:
            raise SettingsError(f"matcher.width: {settings.width}; without project_text it is the text's, {text_width}")
        self.apply(xavier)

    def regions(self, tokens: Tensor) -> Tensor:
        """(N, R, image_width) -> (N, R, D) unit vectors."""
        return l2norm(full(self.image(tokens)))

    def words(self, tokens: Tensor) -> Tensor:
        """(N, L, text_width) -> (N, L, D) unit vectors."""
        return l2norm(full(self.text(tokens)))

    def image_side(self, tokens: Tensor, mask: Tensor | None = None) -> Side:
        """(N, R, image_width); without a mask (N, R) all regions are valid."""
        vectors = self.regions(tokens)
        return every(vectors) if mask is None else Side(vectors, mask)

    def text_side(self, tokens: Tensor, mask: Tensor, complete: bool | None = None) -> Side:
        """(N, L, text_width), (N, L); `complete` as a `Side` has it."""
        return Side(self.words(tokens), mask, complete)

    def forward(self, encodings: "Encodings") -> MatcherHosted:
        """Its scores and records of a batch."""
        return MatcherHosted(self, encodings)

    @abstractmethod
    def block(self, image: Side, text: Side) -> Tensor:
        """(I, C) raw scores of all pairs of a block."""

    def entries(self, regions: int, words: int) -> int:
        """Numbers that the largest tensor of a block holds for each pair."""
        return regions * words

    def score_all_pairs(self, image: Side, text: Side) -> Tensor:
        """(I, C) scores of all pairs, in blocks of at most `max_entries` numbers."""
        return self.squashed(self.raw_scores(image, text))

    def raw_scores(self, image: Side, text: Side) -> Tensor:
        """(I, C) what the scores are a rising function of: by these pairs are ranked, where scores would saturate."""
        with torch.autocast(image.vectors.device.type, enabled=False):
            return self.in_blocks(image, text)

    def in_blocks(self, image: Side, text: Side) -> Tensor:
        """(I, C) raw scores; what needs one look at all rows goes before the blocks."""
        return score_blocks(self.block, self.entries, image, text, self.max_entries)

    def squashed(self, raw: Tensor) -> Tensor:
        """Scores of raw ones; the same where nothing saturates."""
        return raw

    def averaged(self, one: Tensor, two: Tensor) -> Tensor:
        """The raw form of the mean of two models' scores."""
        return (one + two) / 2

    @property
    def words_attend(self) -> bool:
        """Whether words attend to regions, and not regions to words alone."""
        return any(one.direction == "t2i" for one in self.crossings)

    def attention(self, image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """(P, L, R) weights of the words of text i over the regions of image i, of tokens (P, R, image_width) and
        (P, L, text_width). Raises StopIteration where words do not attend."""
        return self.record("t2i", self.image_side(image), self.text_side(text, mask), None).weight

    def records(self, image: Side, text: Side, groups: dict[str, Tensor | None]) -> list[AttentionRecord]:
        """The matched pairs (row i of both sides), one record a direction; `groups` by direction."""
        return [self.record(one.direction, image, text, groups.get(one.direction)) for one in self.crossings]

    def record(self, direction: Direction, image: Side, text: Side, groups: Tensor | None) -> AttentionRecord:
        """Row i of one side attends to row i of the other. Raises StopIteration for a direction it has not."""
        with torch.autocast(image.vectors.device.type, enabled=False):
            return next(one for one in self.crossings if one.direction == direction).record(image, text, groups)


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, as the hosts' code starts; for `apply`."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
