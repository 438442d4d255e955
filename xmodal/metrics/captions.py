"""BLEU-4 and CIDEr of generated captions, by the COCO scorer (pycocoevalcap) on our own plain tokens.

**CIDEr is blind to words that every image's references share** (their inverse document frequency is 0): on a single
image, or where all images have the same references, it is 0.0 for a perfect caption too. `shared_words` counts such
words, to be printed beside it. References that are equal after tokenisation count once.

Sources: Papineni et al., ACL 2002; Vedantam et al., CVPR 2015 (CIDEr-D, times 10, as the COCO server prints).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmodal.metrics.intervals import DRAWS, Interval, number, percentile, resample

WORD = re.compile(r"\w+(?:['’]\w+)*")


def tokenise(text: str) -> str:
    """Lower-case words with single spaces, no punctuation: in place of the COCO server's Java tokeniser."""
    return " ".join(WORD.findall(text.lower()))


def distinct(references: Sequence[str]) -> list[str]:
    """Tokenised references without repeats, in their order."""
    return list(dict.fromkeys(filter(None, map(tokenise, references))))


@dataclass(frozen=True)
class CaptionScores:
    """Scores of n images."""

    bleu4: float
    """Corpus BLEU-4, 0..1: from summed counts, not a mean over images."""
    cider: NDArray[np.float64]
    """(n,) CIDEr-D of each image, 0..10; the reported figure is the mean."""
    counts: NDArray[np.float64]
    """(n, 10) what corpus BLEU sums: 4 matched n-grams, 4 n-grams, words, words of the closest reference."""
    shared_words: int
    """Words that stand in some reference of every image: CIDEr does not see them."""
    distinct_references: int

    def bleu_interval(self, groups: Sequence[Any] | NDArray, draws: int = DRAWS, seed: int = 0) -> Interval | None:
        """Bootstrap over groups (n,) of images; None for a single group."""
        numbers = number(groups)
        if numbers.max() == 0:
            return None
        sums = np.zeros((numbers.max() + 1, self.counts.shape[1]))
        np.add.at(sums, numbers, self.counts)
        return percentile(_bleu(resample(len(sums), draws, seed) @ sums))


def score(generated: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Scores one generated caption an image against that image's references.

    Raises ValueError where an image has no reference with a word in it. An empty caption scores 0.
    """
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    truths = [distinct(texts) for texts in references]
    lacking = [index for index, texts in enumerate(truths) if not texts]
    if lacking or len(generated) != len(truths) or not truths:
        raise ValueError(f"{len(generated)} captions, {len(truths)} reference lists, {len(lacking)} of them empty")
    cider = CiderScorer()
    for caption, texts in zip(generated, truths, strict=True):
        cider += (tokenise(caption), texts)
    _, per_image = cider.compute_score()
    counts = _counts([tokenise(caption) for caption in generated], truths)
    distinct_references = len({text for texts in truths for text in texts})
    bleu4 = float(_bleu(counts.sum(0, keepdims=True))[0])
    return CaptionScores(bleu4, np.asarray(per_image), counts, _shared(truths), distinct_references)


def _counts(captions: list[str], truths: list[list[str]]) -> NDArray[np.float64]:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for caption, texts in zip(captions, truths, strict=True):
        scorer += (caption, texts)
    return np.array([_sums(parts) for parts in scorer.ctest], dtype=np.float64)


def _sums(parts: dict[str, Any]) -> list[float]:
    """One image's matched and possible n-grams, its length and that of the reference closest in length."""
    closest = min((abs(length - parts["testlen"]), length) for length in parts["reflen"])[1]
    return [*parts["correct"], *parts["guess"], parts["testlen"], closest]


def _bleu(sums: NDArray) -> NDArray[np.float64]:
    """BLEU-4 of (draws, 10) summed counts, with the scorer's own guards against zero."""
    matched, possible, words, closest = sums[:, :4], sums[:, 4:8], sums[:, 8], sums[:, 9]
    precision = ((matched + 1e-15) / (possible + 1e-9)).prod(1) ** 0.25
    ratio = (words + 1e-15) / (closest + 1e-9)
    return precision * np.exp(np.minimum(0, 1 - 1 / ratio))


def _shared(truths: list[list[str]]) -> int:
    seen = Counter(word for texts in truths for word in {word for text in texts for word in text.split()})
    return sum(count == len(truths) for count in seen.values())
