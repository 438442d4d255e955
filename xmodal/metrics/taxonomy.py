"""How far off a wrong answer is: rank steps up to the lowest taxon that truth and answer share.

0 = the species itself, 1 = another species of the genus, 2 = of the family, 3 = of the order, 4 = of the class, 5 = not
even the class is shared. This is the height of the lowest common ancestor that Bertinetto et al. (Making Better
Mistakes, CVPR 2020, section 3) call the hierarchical distance of an answer, on the ladder of five ranks in
`classification.RANKS`, averaged over all answers, right ones included.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from xmodal.metrics.classification import RANKS, Lineages
from xmodal.metrics.retrieval import Rows

Array = NDArray[np.float64]


def lca_steps(truth: Sequence[str], predicted: Sequence[str], lineages: Lineages) -> Array:
    """(n,) 0..5; NaN where the true taxon has no name at one of the ranks, whatever was answered.

    A rank that the answer has no name at counts as not shared, so a gap in the answer's lineage never flatters it.
    """
    steps = {pair: steps_between(*pair, lineages) for pair in set(zip(truth, predicted, strict=True))}
    return np.array([steps[pair] for pair in zip(truth, predicted, strict=True)], dtype=np.float64)


def lca_chance(truth: Sequence[str], candidates: Sequence[str], lineages: Lineages) -> Array:
    """(n,) what `lca_steps` gives on average when each candidate is as likely to be named."""
    expected = {label: np.mean([steps_between(label, other, lineages) for other in candidates]) for label in set(truth)}
    return np.array([expected[label] for label in truth], dtype=np.float64)


def steps_between(truth: str, answer: str, lineages: Lineages) -> float:
    """Rank steps up to the lowest taxon that both share; NaN where the true one has no name at one of the ranks."""
    own, other = lineages.get(truth, {}), lineages.get(answer, {})
    if any(rank not in own for rank in RANKS):
        return np.nan
    return float(next((step for step, rank in enumerate(RANKS) if own[rank] == other.get(rank)), len(RANKS)))


def gains(asked: Sequence[str], shown: Sequence[str], lineages: Lineages) -> Rows:
    """Gain 1 - steps / 5 of each gallery taxon (N,) for each query taxon (Q,): 1 the species, 0.8 its genus, ... 0
    nothing shared (the similarity of Barz & Denzler, WACV 2019). Rows of a query taxon without a name at
    one of the ranks are NaN. What shows no taxon ("") gains nothing."""
    taxa, row = np.unique(asked, return_inverse=True)
    others, column = np.unique(shown, return_inverse=True)
    steps = [[steps_between(taxon, other, lineages) for other in others.tolist()] for taxon in taxa.tolist()]
    table = 1 - torch.tensor(steps, dtype=torch.float64) / len(RANKS)
    return lambda rows: table[row[rows]][:, column]
