"""A bi-encoder against cross-attention scoring on identical region features: encoding and scoring, each by itself.

`python -m tests.bench.retrieval_speed [IMAGES] [DEVICE]`: IMAGES (100 by default; Flickr30K 1K is 1000) with five
captions each, 36 regions of 2,048, captions of 8 to 24 pieces, D = 1,024. Ours is USER's model: SGE, projection and GPO
of the regions, BiGRU and GPO of the words; a score is one dot product, all of them one matrix product. The reference is
SCAN t2i (Lee et al., ECCV 2018, lambda 9, mean): each region projected, a BiGRU, and for every pair a caption's words
attending to an image's regions, caption after caption against all images, as its released code goes about it.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, normalize

from tests.bench.frame import Comparison, Side, compare, show
from xmodal.encoders.bigru import BiGRU
from xmodal.model import CrossModalModel, ModelSettings
from xmodal.settings import parse
from xmodal.wordpiece import SPECIAL, WordPiece

IMAGES, CAPTIONS, REGIONS, WIDTH, WORDS = 100, 5, 36, 2048, 1000
CHUNK = 100
"""Images, and captions, encoded at once."""
SHARPNESS = 9.0
SETTINGS = {
    "embed_dim": 1024,
    "image": {"kind": "precomputed", "regions": REGIONS, "width": WIDTH},
    "image_enhance": [{"kind": "self_guided"}],
    "head": {"kind": "tokenwise", "hidden": 512},
    "text": {"kind": "bigru"},
    "text_head": {"kind": "tokenwise"},
    "pooling": {"kind": "gpo"},
    "queue": {"size": 0},
    "tasks": {"itc": None, "uto": {}},
}


@dataclass(frozen=True)
class Work:
    """N images and 5 N captions."""

    regions: Tensor
    """(N, 36, 2048)."""
    ids: Tensor
    """(5 N, L)."""
    mask: Tensor

    @classmethod
    def drawn(cls, images: int, device: str, regions: int = REGIONS, width: int = WIDTH) -> "Work":
        generator = torch.Generator().manual_seed(0)
        length = torch.randint(8, 25, (CAPTIONS * images,), generator=generator)
        mask = torch.arange(24) < length[:, None]
        ids = torch.randint(5, WORDS, mask.shape, generator=generator).masked_fill(~mask, 0)
        features = torch.rand(images, regions, width, generator=generator)
        return cls(features.to(device), ids.to(device), mask.to(device))


class Scan(nn.Module):
    """SCAN's encoders and its score of all pairs."""

    def __init__(self, width: int = WIDTH, embed_dim: int = 1024):
        super().__init__()
        self.regions = nn.Linear(width, embed_dim)
        self.words = BiGRU(kind="bigru", width=embed_dim).build(vocabulary())

    def encode(self, work: Work) -> tuple[Tensor, Tensor]:
        """(N, R, D) regions and (M, L, D) words, unit vectors."""
        images = [normalize(self.regions(part), dim=-1) for part in work.regions.split(CHUNK)]
        pairs = zip(work.ids.split(CHUNK), work.mask.split(CHUNK), strict=True)
        return torch.cat(images), torch.cat([normalize(self.words(*pair), dim=-1) for pair in pairs])

    @staticmethod
    def scores(images: Tensor, words: Tensor, lengths: list[int]) -> Tensor:
        """(N, M): for each caption, the mean over its words of the cosine with what they attend to in each image."""
        return torch.stack([attended(images, one[:n]) for one, n in zip(words, lengths, strict=True)], dim=1)


def attended(images: Tensor, words: Tensor) -> Tensor:
    """(N, R, D), (n, D) -> (N,) scores of one caption."""
    raw = normalize(leaky_relu(images @ words.T, 0.1), dim=2, eps=1e-8)  # over the words, for each region
    weights = (SHARPNESS * raw).softmax(1)
    context = weights.transpose(1, 2) @ images
    return torch.cosine_similarity(words[None], context, dim=2).mean(1)


def vocabulary() -> WordPiece:
    return WordPiece([*SPECIAL, *(f"w{n}" for n in range(WORDS - len(SPECIAL)))])


def encoded(model: CrossModalModel, work: Work) -> tuple[Tensor, Tensor]:
    """(N, D) and (M, D) unit vectors."""
    images = [model.encode_image(part) for part in work.regions.split(CHUNK)]
    texts = [model.encode_text(*pair) for pair in zip(work.ids.split(CHUNK), work.mask.split(CHUNK), strict=True)]
    return torch.cat(images), torch.cat(texts)


def comparisons(images: int = IMAGES, device: str = "cpu") -> Iterator[Comparison]:
    """Encoding, then scoring of what was encoded."""
    torch.manual_seed(0)
    work = Work.drawn(images, device)
    ours = CrossModalModel(parse(ModelSettings, SETTINGS), vocabulary(), 0).to(device).eval()
    theirs = Scan().to(device).eval()
    lengths = work.mask.sum(1).tolist()
    with torch.no_grad():
        vectors, tokens = encoded(ours, work), theirs.encode(work)

    def side(name: str, units: float, act: Callable[[], object]) -> Side:
        return Side(name, lambda: done(units, act))

    size = f"{images} images, {len(lengths)} captions, {device}"
    yield compare(
        f"encode, {size}",
        "image",
        side("USER's encoders", images, lambda: encoded(ours, work)),
        side("SCAN's encoders", images, lambda: theirs.encode(work)),
    )
    pairs = images * len(lengths) / 1000
    yield compare(
        f"score, {size}",
        "thousand pairs",
        side("matrix product", pairs, lambda: vectors[0] @ vectors[1].T),
        side("cross attention (SCAN t2i)", pairs, lambda: Scan.scores(*tokens, lengths)),
    )


def done(units: float, act: Callable[[], object]) -> float:
    """Runs `act`; returns the units."""
    with torch.no_grad():
        act()
    return units


if __name__ == "__main__":
    torch.set_num_threads(1)
    show(comparisons(int(sys.argv[1]) if sys.argv[1:] else IMAGES, *sys.argv[2:3]))
