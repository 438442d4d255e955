"""Texts as token ids, each made once a process: captions of a survey repeat, and every epoch reads them again."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

Encode = Callable[[list[str]], tuple[Tensor, Tensor]]

MOST_BYTES = 32 << 20
"""Ids that are remembered, at most; then all are forgotten."""


class KnownTexts:
    """`encode` takes N texts to (N, L) int64 ids and their (N, L) mask, L at most `length`."""

    def __init__(self, encode: Encode, length: int) -> None:
        self.encode, self.length = encode, length
        self.most = MOST_BYTES // (8 * length)
        self.known: dict[str, tuple[bytes, int]] = {}

    def __call__(self, texts: Sequence[str]) -> list[tuple[bytes, int]]:
        """Of each text `length` int64 ids, padded with zeros, as bytes, and how many of them are its own."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if len(self.known) + len(new) > self.most:
            self.known, new = {}, list(dict.fromkeys(texts))
        if new:
            ids, mask = self.encode(new)
            padded = np.zeros((len(new), self.length), np.int64)
            padded[:, : ids.shape[1]] = ids.masked_fill(~mask, 0).numpy()[:, : self.length]
            counts = mask.sum(1).tolist()
            self.known |= {text: (row.tobytes(), n) for text, row, n in zip(new, padded, counts, strict=True)}
        return [self.known[text] for text in texts]
