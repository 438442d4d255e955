"""CCS, contrastive content swapping (Chen et al., WACV 2023; a documented reading, docs/method.md).

    L_ccs = sum_dir mean_i max(0, gamma - r(q_i, a_i) + r(q_i, a_j))

over the matched pairs of the model's host: what a fragment attends to must be more relevant to it than what another
fragment attends to there, one of the same pair (`intra`) or one of another sample that shows something else (`inter`).
Never another of the same word or animal. Pairs are reduced as the host's own loss is.
"""

from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal import draws
from xmodal.constraint_figures import figures
from xmodal.constraints import (
    SWAPS,
    Losses,
    Mine,
    Swap,
    drawn,
    fragments_of_another_pair,
    fragments_of_the_same_pair,
    hardest,
    swapping,
)
from xmodal.encodings import Encodings
from xmodal.matchers.record import AttentionRecord
from xmodal.relations import strangers
from xmodal.relevance import Cosine
from xmodal.settings import Settings
from xmodal.sizes import Sizes


class CCS(Settings):
    """Contrastive content swapping."""

    weight: float = Field(default=0.3, ge=0)
    """lambda, factor of the loss in the total; 0 = without it."""
    margin: float = Field(default=0.2, ge=0)
    """gamma, by which attended content must be more relevant than swapped content."""
    swap: Literal["content", "query", "both"] = "content"
    """What is swapped: the content, the query, or each in turn."""
    source: Literal["intra", "inter"] = "intra"
    """Where the other fragment comes from: the same pair, or a sample of the global batch that shows something else."""
    mining: Literal["random", "hardest"] = "hardest"
    """Which of the allowed fragments: one by a keyed draw, or the most relevant."""

    def build(self, sizes: Sizes) -> "Swapping":
        mining = Hardest() if self.mining == "hardest" else Random(sizes.seed)
        source = SamePair() if self.source == "intra" else OtherSample(sizes.seed)
        return Swapping(SWAPS[self.swap], source, mining, self.margin)


class Source(Protocol):
    def __call__(self, encodings: Encodings, record: AttentionRecord) -> tuple[AttentionRecord, Tensor]:
        """Whose fragments are swapped in, and (B, n, n') which may be."""
        ...


class SamePair:
    """intra"""

    def __call__(self, encodings: Encodings, record: AttentionRecord) -> tuple[AttentionRecord, Tensor]:
        return record, fragments_of_the_same_pair(record)


class OtherSample:
    """inter: one sample that shows something else for each pair, by a draw keyed by seed, step and both samples."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, encodings: Encodings, record: AttentionRecord) -> tuple[AttentionRecord, Tensor]:
        rows, has = self._partners(encodings, record)
        other = encodings.hosted.other(record, rows)
        return other, fragments_of_another_pair(record, other) & has[:, None, None]

    def _partners(self, encodings: Encodings, record: AttentionRecord) -> tuple[Tensor, Tensor]:
        """(B,) rows of the global batch that show what this pair does not, whose queries are false of its keys, and
        whether there is any."""
        batch, everyone = encodings.batch, encodings.gathered
        relations = {"t2i": encodings.i2t.relations, "i2t": encodings.t2i.relations}[record.direction]
        allowed = relations.unrelated[:, : len(everyone)] & strangers(encodings.keys, everyone) & everyone.valid
        noise = draws.uniform(self.seed, 2, batch.step, batch.sample_id[:, None], everyone.sample_id[None])
        return noise.masked_fill(~allowed, -1).argmax(1), allowed.any(1)


class Mining(Protocol):
    def __call__(self, encodings: Encodings, allowed: Tensor) -> Mine: ...


class Hardest:
    """The most relevant."""

    def __call__(self, encodings: Encodings, allowed: Tensor) -> Mine:
        return hardest


class Random:
    """One of the allowed, by a draw keyed by seed, step, sample and both fragments."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, encodings: Encodings, allowed: Tensor) -> Mine:
        batch = encodings.batch
        one, other = (torch.arange(size, device=allowed.device) for size in allowed.shape[1:])
        return drawn(draws.uniform(self.seed, 3, batch.step, batch.sample_id[:, None, None], one[:, None], other))


class Swapping(nn.Module):
    """The task; it has no weights."""

    def __init__(self, swap: Swap, source: Source, mining: Mining, margin: float):
        super().__init__()
        self.swap, self.source, self.mining, self.margin = swap, source, mining, margin

    def forward(self, encodings: Encodings) -> Tensor:
        """This rank's share of the global loss, a scalar."""
        hosted, valid = encodings.hosted, encodings.batch.valid
        pairs = [one.of_pairs() for one in self.losses(encodings)]
        return torch.stack([hosted.reduce(means, has & valid) for means, has in pairs]).sum()

    def losses(self, encodings: Encodings) -> list[Losses]:
        """One entry a direction of the host."""
        return encodings.once(self, lambda: [self._swapped(encodings, one) for one in encodings.hosted.records])

    def _swapped(self, encodings: Encodings, record: AttentionRecord) -> Losses:
        other, allowed = self.source(encodings, record)
        return swapping(record, other, Cosine(record), allowed, self.swap, self.mining(encodings, allowed), self.margin)

    def figures(self, encodings: Encodings) -> dict[str, Tensor]:
        """`xmodal.constraint_figures` of the batch."""
        return figures(self.losses(encodings), encodings.hosted.records, encodings.batch.valid)
