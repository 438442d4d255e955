"""Per-query values -> Figure rows: value, chance, interval and note in one place, so that no figure goes without them.

`prefix` is the log key's start ("test"); `groups` (n,) is what is resampled: places, or images where no place is known.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from xmodal.metrics import space
from xmodal.metrics.captions import CaptionScores
from xmodal.metrics.classification import RANKS, Lineages, hits, rank_chance, rank_hits
from xmodal.metrics.figure import Figure, figure
from xmodal.metrics.intervals import mean, mean_interval, median_interval, sum_interval
from xmodal.metrics.retrieval import Array, Graded, Precisions, Ranks, chance_rsum, rsum

Groups = Sequence[Any] | np.ndarray
DIRECTIONS = {"i2t": "Texts found for an image", "t2i": "Images found for a text"}
KS = (1, 5, 10)


def share(
    name: str,
    label: str,
    values: ArrayLike,
    chance: ArrayLike | float | None,
    groups: Groups,
    classes: Groups | None = None,
    note: str = "",
    baseline: ArrayLike | None = None,
) -> Figure:
    """A mean of (n,) fractions in percent; with `classes` (n,) the mean of the class means. `baseline` (n,) is what the
    place-only baseline gets right."""
    rows = np.asarray(values, dtype=np.float64)
    guessed = (
        None if chance is None else mean(np.broadcast_to(np.asarray(chance, dtype=np.float64), rows.shape), classes)
    )
    low_high = mean_interval(rows, groups, classes)
    place_only = None if baseline is None else mean(baseline, classes)
    asked = int((~np.isnan(rows)).sum())
    return figure(name, mean(rows, classes), guessed, low_high, asked, "%", note, label, place_only)


def retrieval(prefix: str, direction: str, found: Ranks, groups: Groups) -> list[Figure]:
    """R@1/5/10 and the median rank of one direction ("i2t", "t2i")."""
    words, asked = DIRECTIONS[direction], int((found.positives > 0).sum())
    note = f"{found.gallery} candidates; ties by expectation" + _left_out(found)
    recalls = [
        share(f"{prefix}/{direction}/r{k}", f"{words}: right one among the first {k}", found.recall(k), found.chance(k),
              groups, note=note)
        for k in KS
    ]  # fmt: skip
    bounds = median_interval(found.rank + 1, groups)
    rank, guessed = found.median_rank(), found.chance_median_rank()
    name, label = f"{prefix}/{direction}/median_rank", f"{words}: median rank of the best right one"
    return [*recalls, figure(name, rank, guessed, bounds, asked, "rank", note, label)]


def _left_out(found: Ranks) -> str:
    lacking = int((found.positives == 0).sum())
    return f"; {lacking} queries without a right answer left out" if lacking else ""


def precision(prefix: str, direction: str, found: Precisions, groups: Groups) -> list[Figure]:
    """MAP@R and R-precision of one direction."""
    words = DIRECTIONS[direction]
    note = "R = right answers of the query in the gallery; mean over queries"
    mapped = share(f"{prefix}/{direction}/map_at_r", f"{words} (MAP@R)", found.map_at_r, found.chance_map_at_r(),
                   groups, note=note)  # fmt: skip
    shares = share(f"{prefix}/{direction}/r_precision", f"{words} (R-precision)", found.r_precision,
                   found.chance_r_precision(), groups, note=note)  # fmt: skip
    return [mapped, shares]


def precision_at(prefix: str, direction: str, at: dict[int, Array], found: Precisions, groups: Groups) -> list[Figure]:
    """P@k of one direction, `at` (Q,) by k. P@1 is R@1."""
    words, chance = DIRECTIONS[direction], found.chance_r_precision()
    return [
        share(f"{prefix}/{direction}/p{k}", f"{words}: right ones among the first {k} (P@{k})", values, chance, groups,
              note=_most(found, k))
        for k, values in at.items()
    ]  # fmt: skip


def _most(found: Precisions, k: int) -> str:
    """What no order can pass, where some queries have fewer right answers than places."""
    k = min(k, found.gallery)
    most = mean(np.where(found.positives > 0, np.minimum(found.positives, k) / k, np.nan))
    return f"at most {100 * most:.1f} %: some queries have fewer right answers" if most < 1 else ""


def by_distance(prefix: str, found: Graded, groups: Groups) -> Figure:
    """nDCG of images found for a text, by how near their taxa are."""
    left_out = int(np.isnan(found.ndcg).sum())
    note = "gain 1 the species, 0.8 its genus, 0.6 family, 0.4 order, 0.2 class, 0 nothing shared; ties by expectation"
    note += f"; {left_out} texts that name no species with a name at every rank left out" if left_out else ""
    name, label = f"{prefix}/t2i/ndcg", "Images found for a text: near kin first (nDCG by taxonomic distance)"
    return share(name, label, found.ndcg, found.chance, groups, note=note)


def recall_sum(prefix: str, i2t: Ranks, t2i: Ranks, i2t_groups: Groups, t2i_groups: Groups) -> Figure:
    """rsum, its interval from both directions resampled together (groups: the image each query belongs to)."""
    parts = [(100 * i2t.recall(k), i2t_groups) for k in KS] + [(100 * t2i.recall(k), t2i_groups) for k in KS]
    value, guessed = rsum(i2t, t2i), chance_rsum(i2t, t2i)
    label, note = "Sum of the six recalls (rsum)", "0 to 600; both directions resampled together"
    n = len(i2t.above) + len(t2i.above)
    return figure(f"{prefix}/rsum", value, guessed, sum_interval(parts), n, "", note, label)


def species(
    prefix: str,
    truth: Sequence[str],
    predicted: Sequence[str],
    candidates: Sequence[str],
    groups: Groups,
    place_only: Sequence[str] | None = None,
) -> list[Figure]:
    """Micro and macro accuracy beside a uniform guess among the candidates, and beside answers `place_only` (n,)."""
    right, guess = hits(truth, predicted), 1 / len(candidates)
    known = None if place_only is None else hits(truth, place_only)
    among = f"{len(candidates)} species to choose from"
    macro_note = f"mean over the {len(set(truth))} species present; {among}"
    return [
        share(f"{prefix}/species/micro", "Species right, of all images", right, guess, groups, None, among, known),
        share(f"{prefix}/species/macro", "Species right, species weighted equally", right, guess, groups, list(truth),
              macro_note, known),
    ]  # fmt: skip


def per_rank(
    prefix: str,
    truth: Sequence[str],
    predicted: Sequence[str],
    candidates: Sequence[str],
    lineages: Lineages,
    groups: Groups,
    place_only: Sequence[str] | None = None,
) -> list[Figure]:
    """Accuracy at each rank that some true label has a name at, also of the answers `place_only` (n,)."""
    rows = []
    for rank in RANKS:
        right = rank_hits(truth, predicted, lineages, rank)
        chance = rank_chance(truth, candidates, lineages, rank)
        lacking = int(np.isnan(right).sum())
        note = f"{lacking} images without a name at this rank left out" if lacking else ""
        known = None if place_only is None else rank_hits(truth, place_only, lineages, rank)
        label = f"Right at the rank of {rank}"
        rows.append(share(f"{prefix}/species/{rank}", label, right, chance, groups, None, note, known))
    return [row for row in rows if row.n]


def captions(prefix: str, model: CaptionScores, constant: CaptionScores, groups: Groups) -> list[Figure]:
    """BLEU-4 and CIDEr of the model beside those of the most frequent training caption given to every image."""
    n, note = len(model.cider), f"chance: the most frequent training caption; {model.distinct_references} references"
    unseen = f"{note}; {model.shared_words} words stand in every image's references and count nothing"
    bleu = figure(f"{prefix}/caption/bleu4", model.bleu4, constant.bleu4, model.bleu_interval(groups), n, "%", note,
                  "Caption BLEU-4")  # fmt: skip
    bounds = mean_interval(model.cider, groups)
    guessed = mean(constant.cider)
    return [
        bleu,
        figure(f"{prefix}/caption/cider", mean(model.cider), guessed, bounds, n, "", unseen, "Caption CIDEr-D"),
    ]


def shape(prefix: str, image: Tensor, text: Tensor, groups: Groups, temperature: float) -> list[Figure]:
    """The space metrics of N pairs (N, D), unit vectors; `temperature` fitted on validation pairs."""
    n = len(image)
    pairs, size = space.alignment(image, text), min(256, n)
    bound = space.i_nce(image, text, size, temperature)
    close = "mean squared distance of pairs, lower is closer; chance: texts dealt at random"
    apart = "distance of the two centres; chance: image and text of each pair swapped at random"
    nats = f"nats, at most {np.log(size):.2f}; sets of {size}, temperature {temperature:.3f}"
    chance, chance_gap = space.chance_alignment(image, text), space.chance_modality_gap(image, text)
    gap, bounds = space.modality_gap(image, text), space.modality_gap_interval(image, text, groups)
    told, dealt = mean_interval(bound, groups), int((~np.isnan(bound)).sum())
    return [
        figure(
            f"{prefix}/space/alignment", mean(pairs), chance, mean_interval(pairs, groups), n, "", close, "Alignment"
        ),
        figure(f"{prefix}/space/gap", gap, chance_gap, bounds, n, "", apart, "Modality gap"),
        figure(f"{prefix}/space/i_nce", mean(bound), 0.0, told, dealt, "", nats, "Mutual information bound"),
        *_spread(f"{prefix}/space", "image", "images", image, groups),
        *_spread(f"{prefix}/space", "text", "texts", text, groups),
        *_spread(f"{prefix}/space", "union", "both together", torch.cat([image, text]), [*groups, *groups]),
    ]


def _spread(prefix: str, key: str, words: str, points: Tensor, groups: Groups) -> list[Figure]:
    n, width = points.shape
    floor = "0 = all in one point; chance: directions drawn at random"
    most = f"1 = all on one line, at most {min(n, width)}; chance: directions drawn at random; interval by jackknife"
    uniformity, bounds = space.uniformity(points), space.uniformity_interval(points, groups)
    rank, around = space.effective_rank(points), space.effective_rank_interval(points, groups)
    even, full = space.uniformity_floor(width), space.chance_rank(n, width)
    return [
        figure(f"{prefix}/uniformity_{key}", uniformity, even, bounds, n, "", floor, f"Uniformity of {words}"),
        figure(f"{prefix}/rank_{key}", rank, full, around, n, "", most, f"Effective rank of {words}"),
    ]
