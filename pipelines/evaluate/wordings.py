"""C6 on wordings that training never read: does a species mean the same, and is it found as well, when said otherwise?

Each species of the split is put into the frames that texts of images are written in, and into as many that no text has
(`held_out` in pipelines/prepare/languages): the same name, other words around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.evaluate.subject import Subject
from pipelines.taxa import species_texts, unheard_texts
from xmodal.metrics import structure, tables
from xmodal.metrics.figure import Figure, figure
from xmodal.metrics.intervals import mean, mean_interval
from xmodal.metrics.retrieval import Precisions, precisions


@dataclass(frozen=True)
class Said:
    """W wordings of each of S species: unit vectors (S, W, D) of the texts, and what a search by them finds."""

    vectors: Tensor
    found: Precisions

    @property
    def map_at_r(self) -> NDArray[np.float64]:
        """(S,) mean over the wordings."""
        return self.found.map_at_r.reshape(self.vectors.shape[:2]).mean(1)

    @property
    def chance(self) -> NDArray[np.float64]:
        """(S,)."""
        return self.found.chance_map_at_r().reshape(self.vectors.shape[:2]).mean(1)


def figures(subject: Subject, prefix: str) -> list[Figure]:
    """Rows of the species that training rows name and the split shows; none where there are fewer than two."""
    shown = set().union(*subject.shown)
    names = sorted(set(subject.train_taxa) & shown)
    if len(names) < 2:
        return []
    taxa, code = [subject.train_taxa[name] for name in names], subject.language
    other = [unheard_texts(taxon, code) for taxon in taxa]
    known = [species_texts(taxon, code)[: len(own)] for taxon, own in zip(taxa, other, strict=True)]
    read, unread = (_said(subject, names, texts) for texts in (known, other))
    both, fall = torch.cat([read.vectors, unread.vectors], 1), read.map_at_r - unread.map_at_r
    note = f"{len(other[0])} wordings a species; mean over {len(names)} species, which are resampled"
    label = "C6: images found by a species"
    return [
        variance(f"{prefix}/c6_wording_variance", "C6: variance over wordings of a species, half of them held out",
                 both.flatten(0, 1), torch.arange(len(names)).repeat_interleave(both.shape[1]), names, "wordings"),
        tables.share(f"{prefix}/c6_map_read", f"{label}, in wordings of training (MAP@R)", read.map_at_r, read.chance,
                     names, note=note),
        tables.share(f"{prefix}/c6_map_unread", f"{label}, in wordings held out (MAP@R)", unread.map_at_r,
                     unread.chance, names, note=note),
        figure(f"{prefix}/c6_fall", mean(fall), 0.0, mean_interval(fall, names), len(names), "points",
               "in percentage points; lower is better", "C6: what is lost by wordings held out"),
    ]  # fmt: skip


def _said(subject: Subject, names: list[str], texts: list[list[str]]) -> Said:
    vectors = subject.model.text_vectors([text for own in texts for text in own])
    right = torch.tensor([[name in shown for shown in subject.shown] for name in names])
    right = right.repeat_interleave(len(texts[0]), 0)
    images = subject.gallery.images
    found = precisions(lambda rows: vectors[rows] @ images.T, lambda rows: right[rows], len(vectors))
    return Said(vectors.view(len(names), len(texts[0]), -1), found)


def variance(
    name: str, label: str, texts: Tensor, owner: Tensor, groups: Sequence[str], what: str, more: str = ""
) -> Figure:
    """How far the texts of one owner (`what`, in words) lie apart; `groups` are of the owners of two texts or more."""
    spread, chance = structure.paraphrase_variance(texts, owner), structure.chance_paraphrase_variance(texts, owner)
    note = f"0 = all {what} are one vector; chance: texts dealt at random{more}"
    return figure(name, mean(spread), chance, mean_interval(spread, groups), len(spread), "", note, label)
