"""The protocols of captioned sets: all test images, the mean over folds, and two models whose scores are averaged.

Flickr30K 1K is the first of them over its 1,000 test images, COCO 5K over 5,000; COCO's "5-fold 1K" is the second with
folds of 1,000 images in the order of the file. An ensemble averages two score matrices before ranking, as USER, SGRAF
and others do for the rows that their tables mark with a star.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import DataRefused
from pipelines.evaluate.settings import EvaluationSettings
from pipelines.evaluate.subject import Subject
from pipelines.gallery import Gallery
from pipelines.report.content import FigureGroup
from xmodal.metrics import tables
from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import Groups
from xmodal.metrics.retrieval import Ranks, Rows, dots, ranks

STAR = "ensemble*"


class Ranked(Protocol):
    """Images and the texts written of them, each searched by the others."""

    @property
    def owner(self) -> Tensor:
        """(M,) the image of each text."""
        ...

    def both(self) -> tuple[Ranks, Ranks]:
        """Texts of the images, images of the texts."""
        ...

    def part(self, images: Tensor) -> "Ranked":
        """Some images, in that order, and the texts written of them."""
        ...


@dataclass(frozen=True)
class Scored:
    """Galleries of the same rows, one a model; a pair's score is the mean of theirs."""

    galleries: tuple[Gallery, ...]

    @property
    def owner(self) -> Tensor:
        return self.galleries[0].owner

    def both(self) -> tuple[Ranks, Ranks]:
        return self.i2t(), self.t2i()

    def i2t(self) -> Ranks:
        first = self.galleries[0]
        scores = [dots(one.images, one.texts) for one in self.galleries]
        return ranks(averaged(scores), first.relevant_texts(), len(first.images))

    def t2i(self) -> Ranks:
        first = self.galleries[0]
        scores = [dots(one.texts, one.images) for one in self.galleries]
        return ranks(averaged(scores), first.relevant_images(), len(first.texts))

    def part(self, images: Tensor) -> "Scored":
        return Scored(tuple(part_of(one, images) for one in self.galleries))


def averaged(scores: list[Rows]) -> Rows:
    """The mean of several models' scores."""
    return lambda rows: torch.stack([one(rows) for one in scores]).mean(0) if len(scores) > 1 else scores[0](rows)


def part_of(found: Gallery, images: Tensor) -> Gallery:
    """Some images of a captioned gallery, in that order, and the texts written of them."""
    texts, owner = texts_of(images, found.owner, len(found.images))
    return replace(
        found,
        images=found.images[images],
        texts=found.texts[texts],
        captions=[found.captions[text] for text in texts.tolist()],
        owner=owner,
        first=torch.arange(len(images)),
        written=found.written[texts],
        image_codes=found.image_codes[images],
        text_codes=found.text_codes[texts],
    )


def texts_of(images: Tensor, owner: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """The texts written of some of `total` images, in their order, and the position of each one's image among these."""
    place = torch.full((total,), -1)
    place[images] = torch.arange(len(images))
    texts = torch.nonzero(place[owner] >= 0)[:, 0]
    return texts, place[owner[texts]]


def protocols(subject: Subject, settings: EvaluationSettings, partner: Subject | None) -> list[FigureGroup]:
    """Figure groups of every protocol that is asked for beside the one over all images by one model; none for surveys.

    Raises DataRefused where the partner was trained on other data: its scores would be of other pairs.
    """
    if not subject.gallery.captioned:
        return []
    groups = []
    alone, both = Scored((subject.gallery,)), None
    if partner is not None:
        check_same(subject, partner)
        both = Scored((subject.gallery, partner.gallery))
        note = "The mean of two models' score matrices; the papers mark such rows with a star."
        groups.append(FigureGroup(f"Retrieval, {STAR}", figures(subject, both, "ensemble"), note))
    if settings.fold_images is not None:
        groups.append(folds(subject, alone, settings.fold_images, "folds", "one model"))
        if both is not None:
            groups.append(folds(subject, both, settings.fold_images, "ensemble/folds", STAR))
    return groups


def check_same(subject: Subject, partner: Subject) -> None:
    """Raises DataRefused where two models' galleries are not of the same rows."""
    if subject.dataset.digest != partner.dataset.digest:
        names = [f"{one.dataset.name} version {one.dataset.version}" for one in (subject, partner)]
        raise DataRefused(f"--ensemble: both models must be of one dataset version, these are of {' and '.join(names)}")


def figures(subject: Subject, scored: Ranked, name: str) -> list[Figure]:
    """Recalls, median ranks and rsum over all images."""
    return recalls(f"{subject.split}/{name}", *scored.both(), subject.groups, subject.text_groups)


def folds(subject: Subject, scored: Ranked, images: int, name: str, who: str) -> FigureGroup:
    """The mean over folds of `images` each: of so many queries a fold it is the mean over all queries. Images beyond
    the last whole fold are left out; of fewer images than one fold there is nothing to say."""
    order = file_order(subject)
    cut = [order[start : start + images] for start in range(0, len(order) - images + 1, images)]
    title = f"Retrieval, mean over {len(cut)} folds of {images:,} images, {who}"
    if not cut:
        return FigureGroup(title, [], f"The split has {len(order):,} images: not one fold.")
    parts = [scored.part(torch.from_numpy(fold)) for fold in cut]
    i2t, t2i = (joined(found) for found in zip(*(part.both() for part in parts), strict=True))
    shown, owners = np.concatenate(cut), [part.owner.numpy() for part in parts]
    groups = [subject.groups[image] for image in shown.tolist()]
    asked = np.concatenate([fold[owner] for fold, owner in zip(cut, owners, strict=True)])
    text_groups = [subject.groups[image] for image in asked.tolist()]
    rows = recalls(f"{subject.split}/{name}", i2t, t2i, groups, text_groups)
    left = len(order) - images * len(cut)
    note = f"{left:,} images beyond the last whole fold are left out." if left else ""
    return FigureGroup(title, [row for row in rows if not row.name.endswith("median_rank")], note)


def recalls(prefix: str, i2t: Ranks, t2i: Ranks, groups: Groups, text_groups: Groups) -> list[Figure]:
    """Recalls and median ranks of both directions, and rsum."""
    rows = tables.retrieval(prefix, "i2t", i2t, groups) + tables.retrieval(prefix, "t2i", t2i, text_groups)
    return [*rows, tables.recall_sum(prefix, i2t, t2i, groups, text_groups)]


def joined(parts: Iterable[Ranks]) -> Ranks:
    """The queries of several galleries of one size, one behind another. (The texts of folds may differ in number where
    a caption was empty: chance is that of the first.)"""
    found = list(parts)
    return Ranks(
        above=np.concatenate([one.above for one in found]),
        tied_negatives=np.concatenate([one.tied_negatives for one in found]),
        tied_positives=np.concatenate([one.tied_positives for one in found]),
        positives=np.concatenate([one.positives for one in found]),
        gallery=found[0].gallery,
    )


def file_order(subject: Subject) -> np.ndarray:
    """(N,) images of the gallery by their media ids: for `precomp` folders the order of the rows."""
    own = [one["media_id"] for one in subject.rows.told(["media_id"], subject.split)]
    return np.array(sorted(range(len(own)), key=own.__getitem__), np.int64)
