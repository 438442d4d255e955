"""Which candidates are related to a query, beside its own pair: repeated captions, facts that entail, bursts.

In camera-trap archives most of a queue can be related to a query (a species that makes up a fifth of the frames is in
a fifth of the rows), and an objective that pushes related rows apart learns when a key was written instead of what
it shows. A text states attribute codes t, an image is recorded with codes v (-1 = unspecified); the text

    is true of the image        AND_a (t_a == -1 or t_a == v_a)                  positive,
    may be true of it           AND_a (t_a == -1 or v_a == -1 or t_a == v_a)     ignored: nothing recorded denies it,
    is false otherwise                                                           negative,

provided it states anything at all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xmodal.queue import Facts

SHOWN = slice(0, 6)
"""The columns of codes that say what is shown: type (animal, human, ...), class, order, family, genus, species."""
KIN = slice(3, 5)
"""Family and genus."""
LABELLED = slice(0, 11)
"""What labels state, from type to behaviour; light is measured."""


@dataclass(frozen=True)
class Relations:
    """(B, N) bool each; `own`, `positive` and `ignored` never overlap, all else is a negative."""

    own: Tensor
    """The key of the query's own pair, made in this step: one a row."""
    positive: Tensor
    """Another row that is true of the query, or another key of the same sample."""
    ignored: Tensor
    """Neither positive nor safely negative: another frame of the same event, a text that nothing recorded of the image
    denies, or the same caption where it states no code."""

    @property
    def unrelated(self) -> Tensor:
        return ~(self.own | self.positive | self.ignored)

    def before(self, end: int) -> "Relations":
        """Those to the first `end` candidates."""
        return Relations(self.own[:, :end], self.positive[:, :end], self.ignored[:, :end])


def image_to_text(queries: Facts, candidates: Facts, own: Tensor) -> Relations:
    """Relations of B images to the texts of N candidates; `own` (B,) is each query's own column."""
    stated = (candidates.text_codes >= 0).any(1)[None]
    true, possible = truth(candidates.text_codes, queries.image_codes)
    return _relations(queries, candidates, own, true.T & stated, possible.T & stated, stated)


def text_to_image(queries: Facts, candidates: Facts, own: Tensor) -> Relations:
    """Relations of B texts to the images of N candidates; `own` (B,) is each query's own column."""
    stated = (queries.text_codes >= 0).any(1)[:, None]
    true, possible = truth(queries.text_codes, candidates.image_codes)
    return _relations(queries, candidates, own, true & stated, possible & stated, stated)


def truth(text_codes: Tensor, image_codes: Tensor) -> tuple[Tensor, Tensor]:
    """(T, A), (I, A) -> (T, I) bool each: the text is true of the image; nothing recorded of the image denies it.

    By counting attributes, A of them at most 255: those that agree, that the text states, that both have.
    """
    stated, recorded = text_codes >= 0, image_codes >= 0
    agree = torch.zeros(len(text_codes), len(image_codes), dtype=torch.uint8, device=text_codes.device)
    for text, image in zip(text_codes.T, image_codes.masked_fill(~recorded, -2).T, strict=True):
        agree += text[:, None] == image[None]
    both = stated.float() @ recorded.float().T
    return agree == stated.sum(1, keepdim=True), agree == both


def strangers(queries: Facts, candidates: Facts) -> Tensor:
    """(B, N) whether two pairs show different things, as surely as records tell: the text of each names what the
    other's image does not show, be it the same, above or below ("deer", "red deer" and "animal" are no strangers), and
    no family or genus is recorded of both, for kin share words ("deer"). Light and number make no strangers. Pairs
    without labels whose texts state nothing, as of captioned sets, all are."""
    named = [_names_another(one, other) for one, other in ((queries, candidates), (candidates, queries))]
    own, theirs = queries.image_codes[:, None, KIN], candidates.image_codes[None, :, KIN]
    kin = ((own == theirs) & (own >= 0)).any(2)
    unknown = [(one.text_codes < 0).all(1) & (one.image_codes[:, LABELLED] < 0).all(1) for one in (queries, candidates)]
    return (named[0] & named[1].T & ~kin) | (unknown[0][:, None] & unknown[1])


def _names_another(texts: Facts, images: Facts) -> Tensor:
    """(T, I) whether what the text names is recorded not to be what the image shows."""
    return ~truth(texts.text_codes[:, SHOWN], images.image_codes[:, SHOWN])[1]


def _relations(
    queries: Facts, candidates: Facts, own: Tensor, entailed: Tensor, possible: Tensor, stated: Tensor
) -> Relations:
    is_own = torch.arange(len(candidates), device=own.device)[None] == own[:, None]
    same_text = queries.caption_id[:, None] == candidates.caption_id[None]
    same_sample = queries.sample_id[:, None] == candidates.sample_id[None]
    same_event = (queries.sequence_id[:, None] == candidates.sequence_id[None]) & (queries.sequence_id >= 0)[:, None]
    positive = entailed | same_sample | (same_text & stated)
    unclear = same_event | same_text | possible
    return Relations(is_own, positive & ~is_own, unclear & ~positive & ~is_own)
