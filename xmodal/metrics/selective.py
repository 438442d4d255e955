"""From which confidence on answers are given, so that a wanted share of those given is right.

Selective classification (Geifman & El-Yaniv, NeurIPS 2017): an answer below the threshold is left to people. The share
right is counted over n + 1 answers in place of n, as if the next one were wrong (the correction of conformal risk
control, Angelopoulos et al., ICLR 2024): 95 % needs at least 19 answers, all of them right.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def least_confidence(confidence: Array, right: Array, wanted: float) -> float | None:
    """The lowest confidence from which on right / (n + 1) of the answers is at least `wanted`; None where none is.

    `confidence` (n,) of the answers, `right` (n,) 1 or 0, NaN where nobody knows: such an answer is not counted.
    Answers of equal confidence are taken together.
    """
    known = ~np.isnan(right)
    order = np.argsort(-confidence[known], kind="stable")
    sure, hits = confidence[known][order], np.cumsum(right[known][order])
    last = np.append(sure[1:] != sure[:-1], True)[: len(sure)]
    enough = np.flatnonzero(last & (hits >= wanted * (np.arange(len(sure)) + 2)))
    return float(sure[enough[-1]]) if len(enough) else None
