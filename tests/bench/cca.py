"""The closed-form baseline of a captioned recipe: `python -m tests.bench.cca flickr8k [--beside RUN] [PATH=VALUE...]`.

Regularised canonical correlation analysis (Hotelling 1936; Vinod 1976 for the ridge) between what the recipe's two
heads see of its frozen encoders, L2-normalised: fitted on the training split, the ridge chosen on the validation split
by rsum, each direction weighted by its correlation. Nothing is trained, so a model with these encoders has to beat it.
`--beside` takes a run of the same dataset and gives the paired difference on the same images.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipelines.dataset import Dataset
from pipelines.evaluate.flow import examined
from pipelines.gallery import Split, encode
from pipelines.recipe import load_recipe
from pipelines.train.plan import build_model, sample_reader
from xmodal.metrics import tables
from xmodal.metrics.paired import paired
from xmodal.metrics.retrieval import Ranks, dots, ranks, same_owner
from xmodal.model import CrossModalModel

RIDGES = (0.1, 0.3, 1.0)
"""Added to each variance, as shares of their mean."""
KS = (1, 5, 10)


@dataclass(frozen=True)
class Pairs:
    """N images and M texts of a split, float64: (N, W), (M, V), and the image of each text (M,)."""

    images: Tensor
    texts: Tensor
    owner: Tensor


@dataclass(frozen=True)
class Projection:
    """Both means, both maps into the common space, and the canonical correlations."""

    means: tuple[Tensor, Tensor]
    maps: tuple[Tensor, Tensor]
    correlations: Tensor

    def __call__(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Unit vectors of images and texts."""
        sides = zip((pairs.images, pairs.texts), self.means, self.maps, strict=True)
        image, text = (normalize((vectors - mean) @ projection, dim=-1) for vectors, mean, projection in sides)
        return image, text


def fit(pairs: Pairs, ridge: float) -> Projection:
    """CCA of every text with its image; `ridge` is a share of the mean variance of each side."""
    images, texts = pairs.images[pairs.owner], pairs.texts
    means = (pairs.images.mean(0), texts.mean(0))
    x, y = images - means[0], texts - means[1]
    white = [_inverse_root(_ridged(side.T @ side / len(side), ridge)) for side in (x, y)]
    left, correlations, right = torch.linalg.svd(white[0] @ (x.T @ y / len(x)) @ white[1], full_matrices=False)
    maps = (white[0] @ left * correlations, white[1] @ right.T * correlations)
    return Projection(means, maps, correlations)


def _ridged(covariance: Tensor, share: float) -> Tensor:
    return covariance + share * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)


def _inverse_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.rsqrt() @ vectors.T


def both_ranks(image: Tensor, text: Tensor, owner: Tensor) -> tuple[Ranks, Ranks]:
    """Image to text, text to image."""
    own = torch.arange(len(image))
    i2t = ranks(dots(image, text), same_owner(own, owner), len(image))
    return i2t, ranks(dots(text, image), same_owner(owner, own), len(text))


def shares(found: tuple[Ranks, Ranks], owner: Tensor) -> np.ndarray:
    """(N,) what each image adds to rsum, times N."""
    i2t, t2i = found
    counts = np.bincount(owner.numpy())
    back = [np.bincount(owner.numpy(), t2i.recall(k)) / counts for k in KS]
    return 100 * np.sum([*(i2t.recall(k) for k in KS), *back], axis=0)


def chosen(train: Pairs, val: Pairs) -> tuple[float, Projection]:
    """The ridge with the highest rsum on `val`, and the projection fitted with it."""
    fits = {ridge: fit(train, ridge) for ridge in RIDGES}
    rsum = {one: shares(both_ranks(*fits[one](val), val.owner), val.owner).mean() for one in RIDGES}
    best = max(RIDGES, key=rsum.__getitem__)
    return best, fits[best]


def lines(splits: dict[str, Pairs], beside: tuple[Tensor, Tensor] | None) -> Iterator[str]:
    """Figures on the test split; `beside` are a model's vectors of its images and texts."""
    ridge, projection = chosen(splits["train"], splits["val"])
    owner = splits["test"].owner
    i2t, t2i = both_ranks(*projection(splits["test"]), owner)
    groups = [str(one) for one in range(len(i2t.above))]
    text_groups = [str(one) for one in owner.tolist()]
    rows = tables.retrieval("cca", "i2t", i2t, groups) + tables.retrieval("cca", "t2i", t2i, text_groups)
    yield f"ridge {ridge}, chosen on val"
    for one in [*rows, tables.recall_sum("cca", i2t, t2i, groups, text_groups)]:
        bounds = "" if one.low is None else f"  ({one.low:.1f} to {one.high:.1f})"
        yield f"{one.name:<16} {one.value:6.1f}  chance {one.chance or 0:.1f}{bounds}"
    if beside is not None:
        apart = paired(shares(both_ranks(*beside, owner), owner), shares((i2t, t2i), owner), groups)
        bounds = "" if apart.interval is None else f" ({apart.interval.low:.1f} to {apart.interval.high:.1f})"
        yield f"the run's rsum minus that of CCA: {apart.difference:.1f}{bounds}, images resampled"


def seen(model: CrossModalModel, split: Split) -> Pairs:
    """What the heads of a model see of a split."""
    found = encode(split, model.pool_image, model.pool_text, "cpu")
    image, text = (normalize(torch.cat(side), dim=-1).double() for side in (found.images, found.texts))
    return Pairs(image, text, torch.tensor([one for one, texts in enumerate(found.captions) for _ in texts]))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("recipe", nargs="+")
    words.add_argument("--beside")
    given = words.parse_args()
    recipe = load_recipe(given.recipe)
    store = recipe.compute.store()
    dataset = Dataset.open(store, recipe.data.name, recipe.data.version)
    model, reader = build_model(recipe, dataset).eval(), sample_reader(recipe, dataset)
    splits = {name: seen(model, Split.of(dataset, reader, (name,))) for name in ("train", "val", "test")}
    beside = None
    if given.beside:
        found = examined(store, given.beside, ())[0].embedded
        beside = torch.cat(found.images), torch.cat(found.texts)
    print("\n".join(lines(splits, beside)))


if __name__ == "__main__":
    main()
