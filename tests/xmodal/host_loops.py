"""The hosts as slow numpy loops in float64, one pair at a time, written from their formulas without any tensor of ours.

Fragments come unpadded: `image` (m, d), `caption` (n, d).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def unit(x: Array) -> Array:
    return x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-8)


def cos(x: Array, y: Array) -> float:
    return float(x @ y / max(np.sqrt(x @ x) * np.sqrt(y @ y), 1e-8))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def normed(raw: Array, norm: str) -> Array:
    """(n, m) raw dots of queries and keys; norms run over the queries of each key."""
    out = raw.copy()
    for j in range(raw.shape[1]):
        column = raw[:, j]
        if norm.startswith("clipped"):
            column = np.where(column > 0, column, 0.1 * column)
        if norm.endswith("l2norm"):
            column = column / (np.sqrt((column**2).sum()) + 1e-8)
        if norm.endswith("l1norm"):
            column = column / (np.abs(column).sum() + 1e-8)
        out[:, j] = softmax(column) if norm == "softmax" else column
    return out


def focal(row: Array, kind: str) -> Array:
    keep = np.zeros(len(row))
    for j in range(len(row)):
        if kind == "equal":
            judged = len(row) * row[j] - row.sum()
        else:
            judged = sum((row[j] - row[t]) * np.sqrt(row[t]) for t in range(len(row)))
        keep[j] = judged > 1e-12
    kept = row * keep if keep.any() else row
    return kept / kept.sum()


def weights(queries: Array, keys: Array, sharpness: float, norm: str = "clipped_l2norm", kind: str = "") -> Array:
    x = normed(queries @ keys.T, norm)
    rows = [softmax(sharpness * row) for row in x]
    return np.stack([focal(row, kind) if kind else row for row in rows])


def relevances(queries: Array, keys: Array, w: Array) -> Array:
    return np.array([cos(q, row @ keys) for q, row in zip(queries, w, strict=True)])


def aggregate(r: Array, how: str, lse: float) -> float:
    if how == "logsumexp":
        return float(np.log(np.exp(lse * r).sum()) / lse)
    return float({"mean": r.mean, "max": r.max, "sum": r.sum}[how]())


def scan(image: Array, caption: Array, direction: str, how: str, norm: str, sharpness: float, lse: float) -> float:
    queries, keys = (caption, image) if direction == "t2i" else (image, caption)
    return aggregate(relevances(queries, keys, weights(queries, keys, sharpness, norm)), how, lse)


def bfan(image: Array, caption: Array, kind: str, sharpness: float = 20.0) -> float:
    return sum(
        relevances(q, k, weights(q, k, sharpness, kind=kind)).mean() for q, k in ((caption, image), (image, caption))
    )


def pfan_position(v: Array, ids: Array, share: Array, table: Array, a: Array, b: Array, counts_empty: bool) -> Array:
    """p of one region, from its 15 slots."""
    slots = [n for n in range(len(ids)) if counts_empty or ids[n] != 256]
    alpha = softmax(np.array([np.tanh(table[ids[n]] @ (a @ v + b)) for n in slots]))
    beta = softmax(np.array([share[n] * alpha[s] for s, n in enumerate(slots)]))
    return np.sum([beta[s] * table[ids[n]] for s, n in enumerate(slots)], axis=0)


def pfan(image: Array, caption: Array, direction: str, faithful: bool) -> float:
    queries, keys = (caption, image) if direction == "t2i" else (image, caption)
    w = weights(queries, keys, 9.0 if direction == "t2i" else 4.0)
    r = relevances(queries, keys, w)
    return float((r + 0.5 * w.max(1)).mean() if faithful and direction == "t2i" else r.mean())


def linear(x: Array, state: dict[str, Array], name: str) -> Array:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm_layer(x: Array, state: dict[str, Array], name: str, axis: int) -> Array:
    """A batch norm in evaluation over `axis`, where its statistics are known; else a layer norm over the last."""
    if f"{name}.running_mean" in state:
        shape = [-1 if n == axis else 1 for n in range(x.ndim)]
        mean, var = (state[f"{name}.running_{part}"].reshape(shape) for part in ("mean", "var"))
        scale, shift = (state[f"{name}.{part}"].reshape(shape) for part in ("weight", "bias"))
        return (x - mean) / np.sqrt(var + 1e-5) * scale + shift
    if f"{name}.weight" in state:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]
    return x


def global_vector(x: Array, state: dict[str, Array], name: str) -> Array:
    inner = np.tanh(norm_layer(linear(x, state, f"{name}.local.0"), state, f"{name}.local.1", 0))
    outer = np.tanh(norm_layer(linear(x.mean(0), state, f"{name}.whole.0"), state, f"{name}.whole.1", 0))
    shares = softmax(np.array([float(linear(one * outer, state, f"{name}.weigh")[0]) for one in inner]))
    return unit(np.sum([share * row for share, row in zip(shares, x, strict=True)], axis=0))


def sgraf_nodes(image: Array, caption: Array, state: dict[str, Array]) -> Array:
    """(1 + words, width) similarity vectors, the global one first."""
    w = weights(caption, image, 9.0)
    attended = unit(w @ image)
    v, t = global_vector(image, state, "image_global"), global_vector(caption, state, "text_global")
    nodes = [unit(linear((v - t) ** 2, state, "whole"))]
    nodes += [unit(linear((a - word) ** 2, state, "local")) for a, word in zip(attended, caption, strict=True)]
    return np.stack(nodes)


def sgraf(image: Array, caption: Array, state: dict[str, Array], steps: int) -> float:
    """SGR where `steps` > 0, SAF where it is 0."""
    e = sgraf_nodes(image, caption, state)
    for n in range(steps):
        query, key = linear(e, state, f"vector.steps.{n}.query"), linear(e, state, f"vector.steps.{n}.key")
        mixed = np.stack([softmax(row) @ e for row in query @ key.T])
        e = np.maximum(linear(mixed, state, f"vector.steps.{n}.out"), 0)
    if steps:
        vector = e[0]
    else:
        logits = norm_layer(linear(e, state, "vector.weigh")[:, 0][None], state, "vector.norm", 0)[0]
        share = 1 / (1 + np.exp(-logits))
        vector = unit((share / (np.abs(share).sum() + 1e-8)) @ e)
    return float(1 / (1 + np.exp(-linear(vector, state, "score")[0])))
