"""Vectors -> points on a plane, for looking at; and how much of what is seen there is true of the labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LIMIT = 2000
"""Points drawn: t-SNE of 2,000 takes seconds, and more dots hide one another."""
NEIGHBOURS = 10


def project(vectors: NDArray, seed: int = 0, limit: int = LIMIT) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draws at most `limit` of (N, D) rows by seed: their numbers (n,) in order, and points (n, 2) by PCA then t-SNE.

    Fewer than 5 rows have no map, nor have rows that are all alike: both arrays are empty.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:limit])
    kept = np.asarray(vectors, dtype=np.float64)[rows]
    if len(rows) < 5 or (kept == kept[0]).all():  # t-SNE divides by their spread, and scikit-learn's then crashes
        return rows[:0], np.zeros((0, 2))
    components = min(50, *kept.shape)
    flat = PCA(components, svd_solver="full", random_state=seed).fit_transform(kept)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    with threadpool_limits(
        1
    ):  # the sums of several threads differ from run to run, and on a busy machine they are slower
        points = TSNE(2, perplexity=perplexity, init="pca", max_iter=500, random_state=seed).fit_transform(flat)
    return rows, points.astype(np.float64)


def alike(points: NDArray, labels: Sequence[str]) -> dict[str, tuple[int, float, float]]:
    """label -> (dots, share of their nearest neighbours on the map that have the same label, its chance level)."""
    from sklearn.neighbors import NearestNeighbors

    names = np.asarray(labels, dtype=object)
    k = min(NEIGHBOURS, len(points) - 1)
    near = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False) if k else np.zeros((1, 0), int)
    same = names[near] == names[:, None]
    table = {}
    for label in sorted(set(labels)):
        own = names == label
        dots = int(own.sum())
        table[label] = (dots, float(same[own].mean()) if k else 0.0, (dots - 1) / max(len(points) - 1, 1))
    return table
