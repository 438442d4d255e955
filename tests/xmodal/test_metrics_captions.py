"""Caption scores against BLEU written from its formula, and CIDEr's blindness shown."""

import math
from collections import Counter

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from xmodal.metrics import captions
from xmodal.metrics.intervals import mean

REFERENCES = [
    ["A red fox walks through the snow.", "a fox in deep snow at night", "A red fox walks through the snow!"],
    ["Two wild boar root in the leaves", "wild boar and young under an oak"],
    ["A lynx sits on a rock", "one lynx resting on a flat rock"],
]
GENERATED = ["a red fox walks at night", "two wild boar root in leaves", "a lynx sits on a flat rock"]


def slow_bleu4(generated: list[str], references: list[list[str]]) -> float:
    """Papineni et al. 2002: clipped n-gram precisions, geometric mean, brevity penalty with the closest reference."""
    logs, words, closest = 0.0, 0, 0
    for n in range(1, 5):
        matched = possible = 0
        for text, truths in zip(generated, references, strict=True):
            grams = [
                Counter(tuple(t.split()[i : i + n]) for i in range(len(t.split()) - n + 1)) for t in [text, *truths]
            ]
            most = {gram: max(other[gram] for other in grams[1:]) for gram in grams[0]}
            matched += sum(min(count, most[gram]) for gram, count in grams[0].items())
            possible += sum(grams[0].values())
        logs += math.log(matched / possible) / 4
    for text, truths in zip(generated, references, strict=True):
        length = len(text.split())
        words += length
        closest += min((abs(len(t.split()) - length), len(t.split())) for t in truths)[1]
    return math.exp(logs + min(0.0, 1 - closest / words))


def test_bleu4_equals_the_paper_and_the_library():
    found = captions.score(GENERATED, REFERENCES)
    tokens, truths = [captions.tokenise(t) for t in GENERATED], [captions.distinct(r) for r in REFERENCES]
    assert found.bleu4 == pytest.approx(slow_bleu4(tokens, truths), abs=1e-6)
    keyed = dict(enumerate(truths)), {i: [text] for i, text in enumerate(tokens)}
    assert found.bleu4 == pytest.approx(Bleu(4).compute_score(*keyed, verbose=0)[0][3], abs=1e-9)
    assert mean(found.cider) == pytest.approx(Cider().compute_score(*keyed)[0])


def test_references_count_once_and_tokens_are_plain_words():
    assert captions.tokenise("A Fox's den, 2 m -- déjà vu!") == "a fox's den 2 m déjà vu"
    assert captions.distinct(REFERENCES[0]) == ["a red fox walks through the snow", "a fox in deep snow at night"]
    assert captions.score(GENERATED, REFERENCES).distinct_references == 6


def test_cider_does_not_see_words_that_every_image_shares():
    template = [["a photo of a fox"]] * 4
    perfect = captions.score(["a photo of a fox"] * 4, template)
    assert perfect.bleu4 == pytest.approx(1) and mean(perfect.cider) == 0
    assert perfect.shared_words == 4
    assert captions.score(GENERATED, REFERENCES).shared_words == 0


def test_an_empty_caption_scores_nothing_and_an_image_without_reference_is_refused():
    assert captions.score(["", "", ""], REFERENCES).bleu4 == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="1 of them empty"):
        captions.score(["a fox"], [["..."]])


def test_bleu_interval_resamples_groups_and_holds_the_corpus_value():
    generated, references = GENERATED * 10, REFERENCES * 10
    found = captions.score(generated, references)
    bounds = found.bleu_interval(np.arange(30))
    assert bounds is not None and bounds.low < found.bleu4 < bounds.high
    assert found.bleu_interval([1] * 30) is None
