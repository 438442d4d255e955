"""Scores of pairs by what reads an image and a text at once: the model's cross-attention host, or its ITM head."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from pipelines.gallery import Split, encode
from xmodal.matchers import Matcher
from xmodal.metrics.streaming import Scores
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError
from xmodal.tasks.matching import Matching

PAIRS = 256
"""Pairs that pass the fusion encoder at a time."""


@dataclass(frozen=True)
class Tokens:
    """Of the query encoder, on the model's device; an image's as the host is given them."""

    image: Tensor
    """(N, R, W)."""
    text: Tensor
    """(M, L, W)."""
    mask: Tensor
    """(M, L) bool."""


@torch.no_grad()
def tokens(network: CrossModalModel, rows: Split, device: torch.device | str) -> Tokens:
    """Of every image and every caption of `rows`, in the order of `encode`."""

    def text(ids: Tensor, mask: Tensor) -> Tensor:
        found = network.query.text(ids, mask)
        return torch.cat([found, mask[..., None].to(found)], dim=2)  # the mask goes along as a last number

    found = encode(rows, network.placed_tokens, text, device)
    longest = max(part.shape[1] for part in found.texts)
    texts = torch.cat([pad(part, [0, 0, 0, longest - part.shape[1]]) for part in found.texts]).to(device)
    return Tokens(torch.cat(found.images).to(device), texts[..., :-1], texts[..., -1] > 0.5)


def pair_scores(network: CrossModalModel, read: Tokens) -> Scores:
    """Of the host, else of ITM. Raises SettingsError for a model with neither."""
    if isinstance(network.host, Matcher):
        return host_scores(network.host, read)
    if "itm" in network.tasks:
        return match_scores(cast(Matching, network.tasks["itm"]), read)
    raise SettingsError("rerank: this model has neither a matcher nor the task itm: nothing of it reads pairs")


def host_scores(host: Matcher, read: Tokens) -> Scores:
    """The host's own scores, raw: a sigmoid would put good pairs at one value."""

    @torch.no_grad()
    def scores(images: Tensor, texts: Tensor) -> Tensor:
        some = host.text_side(read.text[texts], read.mask[texts])
        return host.raw_scores(host.image_side(read.image[images]), some).cpu()

    return scores


def match_scores(itm: Matching, read: Tokens) -> Scores:
    """The log odds of being a pair."""

    @torch.no_grad()
    def scores(images: Tensor, texts: Tensor) -> Tensor:
        found = [
            itm.logits(read.text[text], read.mask[text], read.image[image])
            for image, text in (part.T for part in torch.cartesian_prod(images, texts).split(PAIRS))
        ]
        odds = torch.cat(found).float()
        return (odds[:, 1] - odds[:, 0]).view(len(images), len(texts)).cpu()

    return scores
