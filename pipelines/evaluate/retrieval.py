"""Retrieval in both directions, and what right and wrong answers look like."""

from dataclasses import replace

import numpy as np
import torch

from pipelines.evaluate.subject import Subject
from pipelines.evaluate.thumbnails import picture
from pipelines.gallery import Gallery
from pipelines.prepare.attributes import NAMES, rank_values
from pipelines.report.content import Answer, Examples, FigureGroup, ImageAnswer, ImageExample, TextExample
from xmodal.metrics import tables
from xmodal.metrics.classification import Lineages
from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import Groups
from xmodal.metrics.retrieval import Precisions, Ranks, dots, graded, precision_at, precisions, ranks
from xmodal.metrics.taxonomy import gains

SHOWN = 6
"""Examples a direction, and answers an example."""
AT = (5, 10)
"""k of P@k; P@1 is R@1."""
NO_LINEAGE = "nDCG by taxonomic distance: no text names a species whose genus, family, order and class are known"


def ranked(found: Gallery) -> tuple[Ranks, Ranks]:
    """Ranks of both directions: image to text, text to image."""
    i2t = ranks(dots(found.images, found.texts), found.relevant_texts(), len(found.images))
    t2i = ranks(dots(found.texts, found.images), found.relevant_images(), len(found.texts))
    return i2t, t2i


def retrieval(subject: Subject) -> list[FigureGroup]:
    """Instance recall and rsum for captioned sets; any-relevant recall, mAP@R, R-precision and P@k for others, and for
    surveys nDCG by taxonomic distance."""
    found, groups, text_groups = subject.gallery, subject.groups, subject.text_groups
    i2t, t2i = ranked(found)
    rows = tables.retrieval(subject.split, "i2t", i2t, groups) + tables.retrieval(
        subject.split, "t2i", t2i, text_groups
    )
    rows.append(tables.recall_sum(subject.split, i2t, t2i, groups, text_groups))
    kin = by_distance(subject) if found.claiming else None
    if not found.captioned:
        rows += [*_precision_rows(subject), *([kin] if kin else [])]
    missing = [NO_LINEAGE] if found.claiming and not kin else []
    return [FigureGroup("Retrieval", rows, f"Right is {found.rule}. Intervals resample {subject.resampled}.", missing)]


def _precision_rows(subject: Subject) -> list[Figure]:
    """mAP@R, R-precision and P@k of both directions."""
    found, (i2t, t2i) = subject.gallery, mean_precisions(subject.gallery)
    texts = {k: precision_at(dots(found.images, found.texts), found.relevant_texts(), len(found.images), k) for k in AT}
    images = {k: precision_at(dots(found.texts, found.images), found.relevant_images(), len(found.texts), k)
              for k in AT}  # fmt: skip
    rows = tables.precision(subject.split, "i2t", i2t, subject.groups)
    rows += tables.precision_at(subject.split, "i2t", texts, i2t, subject.groups)
    rows += tables.precision(subject.split, "t2i", t2i, subject.text_groups)
    return rows + tables.precision_at(subject.split, "t2i", images, t2i, subject.text_groups)


def by_distance(subject: Subject) -> Figure | None:
    """nDCG of the images found for texts that name a species, by taxonomic distance; None where the ranks above no such
    species are known."""
    found, (shown, lineages) = subject.gallery, _taxa(subject)
    by_taxon = gains(_named(subject), shown, lineages)
    order = graded(dots(found.texts, found.images), by_taxon, len(found.texts))
    return None if np.isnan(order.ndcg).all() else tables.by_distance(subject.split, order, subject.text_groups)


def _taxa(subject: Subject) -> tuple[list[str], Lineages]:
    """(N,) the lowest taxon that each image is recorded with, "" for none; and the ranks of each of these."""
    shown, lineages = [], {}
    for facts in subject.facts:
        ranks = rank_values(facts["taxon"]) if "taxon" in facts else {}
        shown.append(next(reversed(ranks.values()), ""))
        lineages[shown[-1]] = lineages.get(shown[-1], {}) | ranks
    return shown, lineages


def _named(subject: Subject) -> list[str]:
    """(M,) the species that each text claims; "" for none."""
    species = subject.dataset.attributes()["species"]
    codes = subject.gallery.text_codes[:, NAMES.index("species")].tolist()
    return [species[code] if code >= 0 else "" for code in codes]


def mean_precisions(found: Gallery) -> tuple[Precisions, Precisions]:
    """mAP@R and R-precision of both directions."""
    i2t = precisions(dots(found.images, found.texts), found.relevant_texts(), len(found.images))
    t2i = precisions(dots(found.texts, found.images), found.relevant_images(), len(found.texts))
    return i2t, t2i


def untrained(subject: Subject, other: Gallery) -> Figure:
    """The same headline figure of a model of the same shape that has seen no data."""
    found = headline(subject.split, other, subject.groups, subject.text_groups, "untrained/")
    return replace(found, label=f"Untrained model: {found.title}")


def headline(split: str, found: Gallery, groups: Groups, text_groups: Groups, prefix: str = "") -> Figure:
    """rsum for captioned sets, text-to-image mAP@R for others."""
    if found.captioned:
        i2t, t2i = ranked(found)
        return tables.recall_sum(f"{prefix}{split}", i2t, t2i, groups, text_groups)
    return tables.precision(f"{prefix}{split}", "t2i", mean_precisions(found)[1], text_groups)[0]


def examples(subject: Subject, seed: int = 0) -> Examples:
    """Queries of both directions drawn by seed, with the best answers, right or wrong."""
    found = subject.gallery
    generator = np.random.default_rng(seed)
    asked = _draw(generator, found.relevant_images(), len(found.texts))
    shown = _draw(generator, found.relevant_texts(), len(found.images))
    return Examples(
        texts=[_text_example(subject, n) for n in asked], images=[_image_example(subject, n) for n in shown], seed=seed
    )


def _draw(generator: np.random.Generator, relevant, queries: int) -> list[int]:
    """Queries that have a right answer, in the drawn order."""
    order = generator.permutation(queries)
    return [int(n) for n in order if relevant(slice(int(n), int(n) + 1)).any()][:SHOWN]


def _text_example(subject: Subject, n: int) -> TextExample:
    found = subject.gallery
    right = found.relevant_images()(slice(n, n + 1))[0]
    best = torch.topk(found.images @ found.texts[n], min(SHOWN, len(found.images))).indices.tolist()
    answers = [ImageAnswer(picture(subject, image), subject.truth(image), bool(right[image])) for image in best]
    return TextExample(found.captions[n], answers, int(right.sum()))


def _image_example(subject: Subject, n: int) -> ImageExample:
    found = subject.gallery
    right = found.relevant_texts()(slice(n, n + 1))[0]
    scores, best = torch.topk(found.texts @ found.images[n], min(SHOWN, len(found.texts)))
    pairs = zip(best.tolist(), scores.tolist(), strict=True)
    answers = [Answer(found.captions[text], bool(right[text]), score) for text, score in pairs]
    return ImageExample(picture(subject, n), subject.truth(n), answers)
