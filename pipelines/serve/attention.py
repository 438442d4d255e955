"""Where the words of a text look in an image: the weights of what of the model reads both at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xmodal.fusion import CaptionDecoder
from xmodal.inference import Inference
from xmodal.matchers import Matcher
from xmodal.patches import class_tokens, side_of
from xmodal.tasks.captioning import Captioning
from xmodal.wordpiece import SPECIAL

Read = Callable[[Tensor, str], tuple[Tensor, list[str]]]
"""Of an image (1, ...) as its encoder takes it and a text: (L, R) weights over image tokens, and the L pieces."""


@dataclass(frozen=True)
class Attention:
    """Of a model's cross-attention host, else of the last block of its caption decoder."""

    read: Read

    @classmethod
    def of(cls, model: Inference) -> "Attention | None":
        """None for a model of which nothing reads a text and an image together."""
        host = model.network.host
        if isinstance(host, Matcher):
            return cls(_of_host(model, host))
        task = model.network.tasks["lm"] if model.captions_images else None
        return cls(_of_decoder(model, task.decoder)) if isinstance(task, Captioning) else None

    @torch.no_grad()
    def words(self, image: Tensor, text: str) -> dict[str, Any] | None:
        """`side` patches of a row, and for each word its weights over them, row by row; of all words the largest is 1.
        None where image tokens are no grid (regions, one token an image)."""
        weights, pieces = self.read(image, text)
        side, before = side_of(weights.shape[1]), class_tokens(weights.shape[1])
        if side == 0:
            return None
        patches = weights[:, before:].float().cpu()
        patches = patches / patches.max().clamp_min(1e-12)
        told = [(word, patches[where].mean(0)) for word, where in words(pieces)]
        return {"side": side, "words": [{"word": word, "weights": [round(one, 3) for one in found.tolist()]}
                                        for word, found in told]}  # fmt: skip


def words(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Words of WordPiece pieces with the places of their pieces; special pieces are none."""
    found: list[tuple[str, list[int]]] = []
    for place, piece in enumerate(pieces):
        if piece.startswith("##") and found:
            word, places = found[-1]
            found[-1] = (word + piece[2:], [*places, place])
        elif piece not in SPECIAL:
            found.append((piece, [place]))
    return found


def _of_host(model: Inference, host: Matcher) -> Read:
    network, encoder = model.network, model.network.query.text.encoder
    pieces = network.settings.text.pieces(model.wordpiece)

    def read(image: Tensor, text: str) -> tuple[Tensor, list[str]]:
        ids, real = encoder.tokenize([text])
        given, mask = encoder.features(ids.to(model.device), real.to(model.device))
        found = host.attention(network.placed_tokens(image), network.query.text(given, mask), mask)
        return found[0], [pieces[one] for one in ids[0].tolist()]

    return read


def _of_decoder(model: Inference, decoder: CaptionDecoder) -> Read:
    def read(image: Tensor, text: str) -> tuple[Tensor, list[str]]:
        ids, _ = model.wordpiece.encode([text], decoder.length)
        found = decoder.attention(ids[:, :-1].to(model.device), model.network.query.image(image))
        return found[0], [model.wordpiece.tokens[one] for one in ids[0, 1:].tolist()]

    return read
