"""Which keys lie in boxes: regions by their overlap with a phrase's boxes, patches by how much a box covers them.

Boxes of a dataset's records are (x, y, width, height) relative to the stored pixels, which is what a patch grid lies
on; a transform of the pixels has to be applied to them as well.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def corners(boxes: ArrayLike) -> Array:
    """(n, 4) x, y, width, height -> x0, y0, x1, y1."""
    found = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)


def mirrored(boxes: ArrayLike) -> Array:
    """(n, 4) x, y, width, height of a mirrored image: x becomes 1 - x - width."""
    found = np.asarray(boxes, np.float64).reshape(-1, 4).copy()
    found[:, 0] = 1 - found[:, 0] - found[:, 2]
    return found


def intersection(one: Array, two: Array) -> Array:
    """(n, m) areas that corner boxes (n, 4) and (m, 4) share."""
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    return np.clip(high - low, 0, None).prod(-1)


def areas(boxes: Array) -> Array:
    """(n,) of corner boxes."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


def regions_in(regions: Array, boxes: Array, least: float = 0.5) -> Mask:
    """(m,) regions, corner boxes, whose IoU with any of the boxes is at least `least`."""
    shared = intersection(regions, boxes)
    union = areas(regions)[:, None] + areas(boxes)[None] - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.any(iou >= least, axis=1)


def grid(rows: int, columns: int) -> Array:
    """(rows * columns, 4) corner boxes of a patch grid, row by row."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], axis=1)


def patches_in(boxes: Array, rows: int, columns: int, least: float = 0.5) -> Mask:
    """(rows * columns,) patches of which one corner box covers at least `least`, and each box's most covered patch (the
    first of equals), so that a tiny animal has one too. The largest box counts, not the sum: boxes may overlap."""
    patches = grid(rows, columns)
    cover = intersection(patches, boxes) * rows * columns
    found = np.asarray(np.any(cover >= least - 1e-12, axis=1))
    touched = cover.max(0, initial=0) > 0
    found[cover.argmax(0)[touched]] = True
    return found


def centre_gaussian(keys: Array, deviation: float = 0.25) -> Array:
    """(m,) weights of a baseline that looks at the middle: a Gaussian of the corner boxes' centres."""
    centres = (keys[:, :2] + keys[:, 2:]) / 2 - 0.5
    weights = np.exp(-(centres**2).sum(1) / (2 * deviation**2))
    return weights / weights.sum()


def feature_norm(features: ArrayLike) -> Array:
    """(m,) weights of a baseline that looks where features (m, d) are long, whatever the text says."""
    lengths = np.linalg.norm(np.asarray(features, np.float64), axis=1)
    return lengths / max(lengths.sum(), 1e-300)
