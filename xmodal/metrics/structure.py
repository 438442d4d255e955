"""What the shared space knows of the data: species, their relationship, paraphrases, and its own captions.

Shapes: vectors (N, D) of unit length. Values come with their chance level. Sources: Kriegeskorte et al., Front. Syst.
Neurosci. 2008 (RSA); Vinh et al., JMLR 2010 (NMI); Wu et al., CVPR 2018, section 3.4 (weighted kNN).
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from xmodal.metrics.classification import RANKS, Lineages
from xmodal.metrics.intervals import number
from xmodal.metrics.retrieval import Precisions, precisions
from xmodal.metrics.taxonomy import steps_between
from xmodal.metrics.versions import ridge

Array = NDArray[np.float64]
Labels = Sequence[Hashable] | NDArray


def prototypes(points: Tensor, labels: Labels) -> tuple[Tensor, list[str]]:
    """(C, D) mean direction of the points of each label, and the labels as text, sorted."""
    numbers = torch.from_numpy(number(labels)).to(points.device)
    names = sorted({str(label) for label in labels})
    sums = points.new_zeros(len(names), points.shape[1], dtype=torch.float64)
    return normalize(sums.index_add_(0, numbers, points.double()), dim=1), names


def taxonomic_distances(names: Sequence[str], lineages: Lineages) -> Array:
    """(C, C) rank steps 0..5 up to the lowest taxon that two species share; NaN where a lineage lacks a rank."""
    steps = [steps_between(a, b, lineages) for a in names for b in names]
    return np.array(steps, dtype=np.float64).reshape(len(names), len(names))


def rsa(points: Tensor, distances: Array) -> float:
    """Spearman correlation of cosine distances of (C, D) prototypes with (C, C) `distances`, over the pairs where these
    are known; 0 = no relation. NaN where fewer than three pairs are left or all are equally far apart."""
    from scipy.stats import spearmanr

    vectors = points.double().cpu().numpy()
    first, second = np.triu_indices(len(vectors), 1)
    known = ~np.isnan(distances[first, second])
    apart, wanted = (1 - vectors @ vectors.T)[first, second][known].round(9), distances[first, second][known]
    if len(wanted) < 3 or np.ptp(wanted) == 0 or np.ptp(apart) == 0:
        return np.nan
    return float(spearmanr(apart, wanted).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def image_map(taxa: Labels, points: Tensor) -> Precisions:
    """MAP@R of each of (N, D) points among all others, right are those of the same taxon; NaN where there is none."""
    numbers, vectors = torch.from_numpy(number(taxa)), points.float().cpu()

    def others(rows: slice) -> Tensor:
        return torch.arange(len(vectors))[rows, None] != torch.arange(len(vectors))

    def scores(rows: slice) -> Tensor:
        return (vectors[rows] @ vectors.T).masked_fill(~others(rows), -torch.inf)

    found = precisions(scores, lambda rows: (numbers[rows, None] == numbers) & others(rows), len(vectors))
    return replace(found, gallery=found.gallery - 1)  # the image itself, always last, is no candidate


def complete(names: Sequence[str], lineages: Lineages) -> list[int]:
    """Positions of the names that have a taxon at every rank."""
    return [n for n, name in enumerate(names) if all(rank in lineages.get(name, {}) for rank in RANKS)]


def nmi(points: Tensor, labels: Labels, seed: int = 0) -> tuple[float, float]:
    """Normalised mutual information (arithmetic mean) of labels with k-means clusters of the points, as many clusters
    as labels; and its chance level, the same with the labels dealt at random: above 0 where clusters are small."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score
    from threadpoolctl import threadpool_limits

    numbers = number(labels)
    means: Any = KMeans(int(numbers.max()) + 1, n_init=4, random_state=seed)  # pyright: ignore[reportArgumentType]
    with threadpool_limits(1):  # sums in one order: repeatable
        clusters = means.fit_predict(points.double().cpu().numpy())
    dealt = np.random.default_rng(seed).permutation(numbers)
    return float(normalized_mutual_info_score(numbers, clusters)), float(normalized_mutual_info_score(dealt, clusters))


def paraphrase_variance(texts: Tensor, owner: Tensor) -> Array:
    """(images with two texts or more,) mean squared distance of an image's texts to their mean, in the order of the
    images' numbers: 1 - |mean|^2 of unit vectors, 0 = all are one vector."""
    numbers = torch.unique(owner, return_inverse=True)[1]
    counts = torch.bincount(numbers).double()
    sums = texts.new_zeros(len(counts), texts.shape[1], dtype=torch.float64).index_add_(0, numbers, texts.double())
    spread = 1 - (sums / counts[:, None]).square().sum(1)
    return spread[counts > 1].clamp(min=0).cpu().numpy()


def chance_paraphrase_variance(texts: Tensor, owner: Tensor, seed: int = 0) -> float:
    """Mean `paraphrase_variance` where the texts are dealt to the images at random."""
    dealt = torch.from_numpy(np.random.default_rng(seed).permutation(len(texts)))
    return float(paraphrase_variance(texts[dealt], owner).mean())


def knn(train: Tensor, labels: Labels, asked: Tensor, k: int = 20, temperature: float = 0.07) -> list[str]:
    """Labels of (M, D) `asked` by their k nearest of (N, D) `train`, each vote weighing exp(cos / temperature); of
    equal votes the first label in sorted order wins."""
    names, numbers = sorted({str(label) for label in labels}), torch.from_numpy(number(labels))
    answers = []
    for part in asked.double().split(256):
        similar, nearest = (part @ train.double().T).topk(min(k, len(train)), dim=1)
        votes = part.new_zeros(len(part), len(names)).scatter_add_(1, numbers[nearest], (similar / temperature).exp())
        answers += [names[n] for n in votes.argmax(1).tolist()]
    return answers


def linear_probe(train: Tensor, labels: Labels, asked: Tensor) -> list[str]:
    """Labels of `asked` by ridge regression of `train` onto a column a label, in closed form; labels weigh equally."""
    names, numbers = sorted({str(label) for label in labels}), torch.from_numpy(number(labels))
    counts = (1 / torch.bincount(numbers).double())[numbers]
    weights, offsets = ridge(train.double(), one_hot(numbers, len(names)).double(), counts)
    return [names[n] for n in (asked.double() @ weights + offsets).argmax(1).tolist()]


def cycle(images: Tensor, written: Tensor) -> Tensor:
    """(N,) the image nearest to what was written of each image, both (N, D): where it is the image itself, retrieval
    and captions agree."""
    return torch.cat([(part.float() @ images.float().T).argmax(1) for part in written.split(256)])
