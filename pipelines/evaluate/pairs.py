"""Protocols by what reads an image and a text at once (`pipelines.pair_scores`), beside those of the embeddings.

A host scores all pairs of a captioned set (`SCAN` and its kin are evaluated so). Where a shortlist is asked for, the
first candidates of each query by the embeddings are ranked again (ALBEF, Li et al., NeurIPS 2021, section 3.4), by the
host, else by ITM: what is not on the list ranks behind it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from pipelines.evaluate.captioned import STAR, figures, folds, recalls, texts_of
from pipelines.evaluate.settings import EvaluationSettings
from pipelines.evaluate.subject import Subject
from pipelines.pair_scores import Tokens, pair_scores, tokens
from pipelines.report.content import FigureGroup
from xmodal.matchers import Matcher
from xmodal.metrics.intervals import mean
from xmodal.metrics.retrieval import Ranks, Rows, dots, ranks
from xmodal.metrics.streaming import Scores, streamed

BEHIND = -1e30
"""Score of what is not on a list: all of it ties, below every score."""


def protocols(subject: Subject, settings: EvaluationSettings, partner: Subject | None = None) -> list[FigureGroup]:
    """All pairs by the host, by the hosts of two models, and the shortlists ranked again. Raises SettingsError."""
    hosts = [one for one in (subject, partner) if one and isinstance(one.model.network.host, Matcher)]
    by_host = subject in hosts and subject.gallery.captioned
    if not by_host and settings.rerank is None:
        return []
    scores = scores_of(subject)
    groups = all_pairs(subject, scores, settings, "", "one host") if by_host else []
    if by_host and partner in hosts:
        both = mean_of(scores, scores_of(partner), averaging(subject, partner))
        groups += all_pairs(subject, both, settings, "ensemble/", f"two hosts, {STAR}")
    return groups + ([shortlisted(subject, scores, settings.rerank)] if settings.rerank is not None else [])


@dataclass(frozen=True)
class PairScored:
    """All pairs of some images and the texts written of them, ranked without their matrix."""

    scores: Scores
    owner: Tensor
    """(M,) the image of each text."""
    images: int

    def both(self) -> tuple[Ranks, Ranks]:
        return streamed(self.scores, self.owner, self.images)

    def part(self, images: Tensor) -> "PairScored":
        texts, owner = texts_of(images, self.owner, self.images)
        return PairScored(lambda some, few: self.scores(images[some], texts[few]), owner, len(images))


def scores_of(subject: Subject) -> Scores:
    """Of the gallery's images and texts, by what of the model reads pairs."""
    read = tokens(subject.model.network, subject.rows, subject.model.device)
    written = subject.gallery.written
    return pair_scores(subject.model.network, Tokens(read.image, read.text[written], read.mask[written]))


def mean_of(one: Scores, two: Scores, average: Callable[[Tensor, Tensor], Tensor]) -> Scores:
    """Two models' scores averaged, as the papers' rows with a star."""
    return lambda images, texts: average(one(images, texts), two(images, texts))


def averaging(one: Subject, two: Subject) -> Callable[[Tensor, Tensor], Tensor]:
    """From raw scores of two hosts to the mean of their scores, raw too where both hosts are of one kind."""
    first, second = (cast(Matcher, each.model.network.host) for each in (one, two))
    if type(first) is type(second):
        return first.averaged
    return lambda raw, other: (first.squashed(raw) + second.squashed(other)) / 2


def all_pairs(
    subject: Subject, scores: Scores, settings: EvaluationSettings, whose: str, who: str
) -> list[FigureGroup]:
    """Every image with every text, and within folds where these are asked for."""
    scored = PairScored(scores, subject.gallery.owner, len(subject.gallery.images))
    rows = figures(subject, scored, f"{whose}host")
    groups = [FigureGroup(f"Retrieval by cross attention, {who}", rows, "All pairs are scored.")]
    if settings.fold_images is not None:
        groups.append(folds(subject, scored, settings.fold_images, f"{whose}folds/host", who))
    return groups


def shortlisted(subject: Subject, scores: Scores, most: int) -> FigureGroup:
    """The first `most` candidates of each query, ranked again."""
    found = subject.gallery
    texts, images = dots(found.images, found.texts), dots(found.texts, found.images)
    i2t = again(texts, scores, len(found.images), len(found.texts), most)
    t2i = again(images, lambda one, some: scores(some, one).T, len(found.texts), len(found.images), most)
    first, second = found.relevant_texts(), found.relevant_images()
    rows = recalls(
        f"{subject.split}/reranked",
        ranks(i2t, first, len(found.images)),
        ranks(t2i, second, len(found.texts)),
        subject.groups,
        subject.text_groups,
    )
    held = [listed(ranks(texts, first, len(found.images)), most), listed(ranks(images, second, len(found.texts)), most)]
    note = f"The list holds a right answer for {held[0]:.1f} % of the images and {held[1]:.1f} % of the texts."
    return FigureGroup(f"Retrieval, the first {most} of each query ranked again", rows, note)


def listed(found: Ranks, most: int) -> float:
    """Percent of queries with a right answer among the first `most`."""
    return 100 * mean(found.recall(min(most, found.gallery)))


def again(first: Rows, scores: Scores, queries: int, candidates: int, most: int) -> Rows:
    """Scores of the first `most` candidates of each query anew; all others have BEHIND."""
    whole = torch.full((queries, candidates), BEHIND)
    for query in range(queries):
        best = torch.topk(first(slice(query, query + 1))[0], min(most, candidates)).indices.cpu()
        whole[query, best] = scores(torch.tensor([query]), best)[0]
    return lambda rows: whole[rows]
