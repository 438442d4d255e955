"""SCAN's scoring as its release does it: a loop over captions, each repeated for every image, attended vectors built.

Written from the formulas in the order in which the release computes (a caption at a time, all images of the batch), so
that its cost is that of the release. Tensors may be float32 (training) or float64 (the release's evaluation).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import leaky_relu


def unit(x: Tensor, axis: int) -> Tensor:
    return x / (x.pow(2).sum(axis, keepdim=True).sqrt() + 1e-8)


def attended(query: Tensor, context: Tensor, sharpness: float) -> Tensor:
    """(n, q, d), (n, k, d) -> (n, q, d)."""
    attention = leaky_relu(torch.bmm(context, query.transpose(1, 2)), 0.1)
    attention = unit(attention, 2).transpose(1, 2).contiguous()
    weights = torch.softmax(attention * sharpness, dim=-1)
    return torch.bmm(weights, context)


def cosine(x: Tensor, y: Tensor) -> Tensor:
    product = (x * y).sum(-1)
    return product / (x.norm(2, -1) * y.norm(2, -1)).clamp(min=1e-8)


def scores(images: Tensor, captions: Tensor, lengths: list[int], direction: str) -> Tensor:
    """(I, R, D), (C, L, D) -> (I, C): SCAN with the mean over words (t2i, lambda 9) or over regions (i2t, lambda 4)."""
    columns = []
    for caption, length in zip(captions, lengths, strict=True):
        words = caption[:length].unsqueeze(0).repeat(len(images), 1, 1)
        if direction == "t2i":
            r = cosine(words, attended(words, images, 9.0))
        else:
            r = cosine(images, attended(images, words, 4.0))
        columns.append(r.mean(1, keepdim=True))
    return torch.cat(columns, 1)


def triplet(found: Tensor) -> Tensor:
    """Hardest negatives, summed over the batch."""
    own = found.diag()[:, None]
    off = torch.eye(len(found), dtype=torch.bool, device=found.device)
    texts = (0.2 + found - own).clamp(min=0).masked_fill(off, 0)
    images = (0.2 + found - own.T).clamp(min=0).masked_fill(off, 0)
    return texts.max(1)[0].sum() + images.max(0)[0].sum()


def recall(images: Tensor, captions: Tensor, lengths: list[int], each: int) -> tuple[NDArray, NDArray]:
    """Ranks i2t and t2i of images with `each` captions in order, from the whole float64 matrix, a sort a query."""
    matrix = scores(images.double(), captions.double(), lengths, "t2i").cpu().numpy()
    i2t, t2i = np.zeros(len(images)), np.zeros(len(captions))
    for n, row in enumerate(matrix):
        order = np.argsort(row)[::-1]
        i2t[n] = min(np.where(order == own)[0][0] for own in range(each * n, each * (n + 1)))
    for n, column in enumerate(matrix.T):
        t2i[n] = np.where(np.argsort(column)[::-1] == n // each)[0][0]
    return i2t, t2i
