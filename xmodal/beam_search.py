"""Beam search: of each image's caption beginnings the most probable go on, and the best whole caption is taken.

    score = log p(w_1 .. w_n | image) / n^a        n pieces after [CLS], [SEP] among them; a = 1 as in BLIP's captions

The division (Wu et al. 2016, section 7, in its plain form) keeps short captions from winning by being short. A caption
that ends leaves the beam together with its place (Sutskever et al. 2014), so with one place the search is greedy. Equal
scores go to the better beginning, then to the lower id, then to the caption that ended first.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from xmodal.wordpiece import CLS, PAD, SEP

Scores = Callable[[Tensor, Tensor], Tensor]
"""(N, T) ids of N beginnings and (N,) the image of each -> (N, V) logits of the next piece; -inf is never taken."""


class BeamSearch:
    """The search for the captions of B images. N unfinished beginnings stand image by image, the better ones first."""

    def __init__(self, images: int, length: int, beams: int, power: float, device: torch.device):
        self.length, self.beams, self.power = length, beams, power
        self.ids = torch.full((images, 1), CLS, dtype=torch.int64, device=device)
        self.image = torch.arange(images, device=device)
        self.total = torch.zeros(images, dtype=torch.float64, device=device)  # float32 would make near logits equal
        self.best = pad(self.ids, [0, max(0, length - 1)], value=PAD)
        self.score = torch.full((images,), -torch.inf, dtype=torch.float64, device=device)
        self.room = torch.full((images,), beams, device=device)

    @property
    def unfinished(self) -> bool:
        """Whether a caption may still become better than the best of its image."""
        return len(self.ids) > 0 and self.ids.shape[1] < self.length

    def advance(self, logits: Tensor) -> None:
        """Takes (N, V) logits of the next piece: each image's best continuations go on, or end and are scored."""
        totals = self.total[:, None] + logits.double().log_softmax(-1)
        row, piece, total = self._chosen(totals)
        self.ids = torch.cat([self.ids[row], piece[:, None]], dim=1)
        self.image, self.total = self.image[row], total
        ended = piece == SEP
        self._score(ended | (self.ids.shape[1] == self.length))
        self.room -= torch.bincount(self.image[ended], minlength=len(self.room))
        self._keep(~ended & self._hopeful()[self.image])

    def _chosen(self, totals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row, piece and total of the continuations that stay: of each image as many as its beam has room for."""
        image, group, count = self.image.unique_consecutive(return_inverse=True, return_counts=True)
        first = count.cumsum(0) - count
        place = torch.arange(len(group), device=group.device) - first[group]
        vocabulary = totals.shape[1]
        grid = totals.new_full((len(image), int(count.max()), vocabulary), -torch.inf)
        grid[group, place] = totals
        ranked, where = grid.flatten(1).sort(dim=1, descending=True, stable=True)
        ranked, where = ranked[:, : self.beams], where[:, : self.beams]
        rank = torch.arange(ranked.shape[1], device=ranked.device)
        stays = (rank < self.room[image][:, None]) & ranked.isfinite()
        return (first[:, None] + where // vocabulary)[stays], (where % vocabulary)[stays], ranked[stays]

    def _score(self, whole: Tensor) -> None:
        """The whole captions compete with the best of their images: of those of one image the first, of one length."""
        row, width = whole.nonzero().flatten(), self.ids.shape[1]
        row = row[torch.diff(self.image[row], prepend=self.image.new_tensor([-1])) > 0]
        scores = self.total[row] / (width - 1) ** self.power
        better = scores > self.score[self.image[row]]
        row, image = row[better], self.image[row][better]
        self.score[image] = scores[better]
        self.best[image, :width] = self.ids[row]

    def _hopeful(self) -> Tensor:
        """(B,) whether a beginning of the image could still win: no caption scores above its beginning's total over
        the greatest length, since every further piece makes the total smaller."""
        bound = torch.full_like(self.score, -torch.inf)
        bound.scatter_reduce_(0, self.image, self.total / (self.length - 1) ** self.power, "amax")
        return bound > self.score

    def _keep(self, rows: Tensor) -> None:
        self.ids, self.image, self.total = self.ids[rows], self.image[rows], self.total[rows]

    def captions(self) -> Tensor:
        """(B, T) ids of the best captions, T that of the longest."""
        longest = int((self.best != PAD).sum(1).max()) if len(self.best) else 1
        return self.best[:, :longest]


@torch.no_grad()
def beam_search(
    scores: Scores, images: int, length: int, beams: int, device: torch.device, power: float = 1.0
) -> Tensor:
    """(B, T) ids of the best captions found for B images, T <= length: [CLS] words [SEP] [PAD] ...

    A caption that does not end in time counts as it is and has no [SEP]. What has ended, and images whose caption can
    no longer change, are not computed further. `power` is the a >= 0 of the score; with 0 the most probable one wins.
    """
    search = BeamSearch(images, length, beams, power, device)
    while search.unfinished:
        search.advance(scores(search.ids, search.image))
    return search.captions()
