"""Encodings of one batch: query and key tokens, pooled vectors, gathered keys, relations. Each is computed once, on
first use, and shared by all tasks.

A Tower is an encoder with its head; the query encoder is two of them, the key encoder an average of both.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from xmodal import distributed
from xmodal.batch import Batch
from xmodal.heads import MLP, Head, Identity, Linear, Standardise
from xmodal.queue import Facts, FeatureQueue, Keys
from xmodal.relations import Relations, image_to_text, text_to_image
from xmodal.temperature import Temperature


class Tower(nn.Module):
    """An encoder of one modality and its head."""

    def __init__(self, encoder: Any, frozen: bool, embed_dim: int, head: Linear | MLP | Identity):
        super().__init__()
        self.encoder = encoder
        norm = Standardise(encoder.width) if frozen else nn.LayerNorm(encoder.width)
        self.head = Head(head, norm, encoder.width, embed_dim)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Tokens (B, T, W) of pixels or features, or of token ids or features and their mask."""
        return self.encoder(*inputs)


class Towers(nn.Module):
    """Both modalities' towers: the query encoder; its average is the key encoder."""

    def __init__(self, image: Tower, text: Tower):
        super().__init__()
        self.image, self.text = image, text

    def image_vectors(self, tokens: Tensor) -> Tensor:
        """(B, R, W) -> (B, D) unit vectors f."""
        return self.image.head(tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))

    def text_vectors(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, L, W), (B, L) -> (B, D) unit vectors e."""
        return self.text.head(tokens, mask)


class Encodings:
    """Everything the tasks of a model may ask of one batch."""

    def __init__(self, batch: Batch, query: Towers, key: Towers, queue: FeatureQueue, temperature: Temperature):
        self.batch, self.query, self.key, self.queue, self.temperature = batch, query, key, queue, temperature

    @cached_property
    def image_tokens(self) -> Tensor:
        """(B, R, W) of the query encoder."""
        return self.query.image(self.batch.image)

    @cached_property
    def text_tokens(self) -> Tensor:
        """(B, L, W) of the query encoder."""
        return self.query.text(self.batch.text, self.batch.text_mask)

    @cached_property
    def image(self) -> Tensor:
        """f, (B, D)."""
        return self.query.image_vectors(self.image_tokens)

    @cached_property
    def text(self) -> Tensor:
        """e, (B, D)."""
        return self.query.text_vectors(self.text_tokens, self.batch.text_mask)

    @cached_property
    @torch.no_grad()
    def key_image_tokens(self) -> Tensor:
        """(B, R, W) of the key encoder."""
        return self.key.image(self.batch.image)

    @cached_property
    @torch.no_grad()
    def key_text_tokens(self) -> Tensor:
        """(B, L, W) of the key encoder."""
        return self.key.text(self.batch.text, self.batch.text_mask)

    @cached_property
    @torch.no_grad()
    def keys(self) -> Keys:
        """The local rows' keys f^m, e^m with ids and codes, B rows."""
        batch = self.batch
        return Keys(
            image=self.key.image_vectors(self.key_image_tokens),
            text=self.key.text_vectors(self.key_text_tokens, batch.text_mask),
            sample_id=batch.sample_id,
            caption_id=batch.caption_id,
            sequence_id=batch.sequence_id,
            image_codes=batch.image_codes,
            text_codes=batch.text_codes,
            valid=batch.valid,
        )

    @cached_property
    def _gathered(self) -> distributed.Gathered:
        return distributed.gather_columns(self.batch.slot, self.keys.columns(), [self.batch.text.shape[1]])

    @property
    def layout(self) -> distributed.Layout:
        """How the local rows lie in the global batch."""
        return self._gathered.layout

    @cached_property
    def gathered(self) -> Keys:
        """The global batch's keys in global order, N rows: what the queue takes after the step."""
        return Keys(**self._gathered.columns)

    @cached_property
    def candidates(self) -> Facts:
        """N gathered keys, then the K rows of the queue; the own key of local row i stands at `layout.own[i]`."""
        return self.gathered.facts_before(self.queue.keys)

    @cached_property
    def count(self) -> Tensor:
        """Valid rows of the global batch."""
        return self.gathered.valid.sum()

    @cached_property
    def samples_seen(self) -> int:
        """Rows of all steps before this one: what schedules are functions of."""
        return self.batch.step * self.layout.rows

    @cached_property
    def i2t(self) -> "Direction":
        """The local images ask for the candidates' texts."""
        blocks = [self.gathered.text, self.queue.keys.text]
        relations = image_to_text(self.keys, self.candidates, self.layout.own)
        return Direction(self.image, self.keys.image, blocks, relations, self.temperature)

    @cached_property
    def t2i(self) -> "Direction":
        """The local texts ask for the candidates' images."""
        blocks = [self.gathered.image, self.queue.keys.image]
        relations = text_to_image(self.keys, self.candidates, self.layout.own)
        return Direction(self.text, self.keys.text, blocks, relations, self.temperature)

    @cached_property
    def gathered_tokens(self) -> "Tokens":
        """The global batch's query tokens, with gradient into the ranks that hold them."""
        longest = self._gathered.longest[0]
        text = pad(self.text_tokens, [0, 0, 0, longest - self.text_tokens.shape[1]])
        mask = pad(self.batch.text_mask, [0, longest - self.batch.text_mask.shape[1]])
        return Tokens(
            self.layout.gather_with_grad(self.image_tokens),
            self.layout.gather_with_grad(text),
            self.layout.gather(mask.to(torch.int32)).bool(),
            column=torch.arange(self.layout.rows, device=mask.device),
            own=self.layout.own,
        )

    @cached_property
    def local_tokens(self) -> "Tokens":
        """The local rows' query tokens."""
        rows = torch.arange(len(self.batch), device=self.layout.own.device)
        return Tokens(self.image_tokens, self.text_tokens, self.batch.text_mask, column=self.layout.own, own=rows)


class Direction:
    """B queries of one modality against the keys of the other: N of the global batch, then K of the queue."""

    def __init__(
        self, query: Tensor, key: Tensor, blocks: list[Tensor], relations: Relations, temperature: Temperature
    ):
        self.query, self.key, self.blocks = query, key, blocks
        self.relations, self.temperature = relations, temperature

    @cached_property
    def logits(self) -> Tensor:
        """(B, N + K) float32: the query encoder's similarities over the temperature."""
        return self._scaled(self.query)

    @cached_property
    @torch.no_grad()
    def key_logits(self) -> Tensor:
        """(B, N + K) float32: the same of the key encoder's own vectors, without gradient."""
        return self._scaled(self.key)

    def _scaled(self, vectors: Tensor) -> Tensor:
        """Block by block, so that no step copies the queue; in float32 also under autocast, whose bfloat16 puts
        neighbouring negatives at one value."""
        with torch.autocast(vectors.device.type, enabled=False):
            return self.temperature.scaled(torch.cat([vectors.float() @ block.T for block in self.blocks], dim=1))


@dataclass(frozen=True)
class Tokens:
    """M rows of query tokens of both modalities, from which a fusion encoder makes pairs."""

    image: Tensor
    """(M, R, W)."""
    text: Tensor
    """(M, L, W)."""
    text_mask: Tensor
    """(M, L) bool."""
    column: Tensor
    """(M,) each row's position among the candidates."""
    own: Tensor
    """(B,) where the local rows stand among the M."""
