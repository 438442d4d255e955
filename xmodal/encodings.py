"""Encodings of one batch: query and key tokens, pooled vectors, gathered keys, relations. Each is computed once, on
first use, and shared by all tasks.

A Tower is an encoder with its enhancers and head; the query encoder is two of them, the key encoder an average of both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from xmodal import distributed
from xmodal.batch import Batch
from xmodal.enhance import EnhancerSettings
from xmodal.enhance import after as width_after
from xmodal.enhance import build as enhance_modules
from xmodal.heads import MLP, Identity, Linear, Tokenwise
from xmodal.heads import build as build_head
from xmodal.pooling import GPO, MEAN, MeanPooling
from xmodal.pooling import build as build_pooling
from xmodal.positions import as_they_are
from xmodal.products import plain
from xmodal.queue import Facts, FeatureQueue, Keys
from xmodal.relations import Relations, image_to_text, text_to_image
from xmodal.rows import RowLoss
from xmodal.temperature import Temperature


class Tower(nn.Module):
    """An encoder of one modality, the enhancers of its tokens, and its head."""

    def __init__(
        self,
        encoder: Any,
        frozen: bool,
        embed_dim: int,
        head: Linear | MLP | Identity | Tokenwise,
        enhance: Sequence[EnhancerSettings] = (),
        pooling: MeanPooling | GPO = MEAN,
    ):
        super().__init__()
        self.encoder, self.width = encoder, width_after(enhance, encoder.width)
        self.enhancers = enhance_modules(enhance, encoder.width)
        self.head = build_head(head, frozen, self.width, embed_dim, build_pooling(pooling))

    def forward(self, x: Tensor, *mask: Tensor) -> Tensor:
        """Tokens (B, T, W), enhanced, of pixels or features (all tokens are real), or of token ids or features and
        their mask (B, T)."""
        tokens = self.encoder(x, *mask)
        (real,) = mask or (tokens.new_ones(tokens.shape[:2], dtype=torch.bool),)
        for enhance in self.enhancers:
            tokens = enhance(tokens, real[:, : tokens.shape[1]])  # a guide has been taken off an image's end
        return tokens


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

    def enhancer_metrics(self) -> dict[str, Tensor]:
        """() numbers that the enhancers tell of themselves, e.g. "enhance/image/0/layers/0/attend_gate"."""
        towers = {"image": self.image, "text": self.text}
        return {
            f"enhance/{side}/{position}/{name}": value
            for side, tower in towers.items()
            for position, enhancer in enumerate(tower.enhancers)
            for name, value in enhancer.metrics().items()  # pyright: ignore[reportCallIssue]
        }


def no_host(encodings: "Encodings") -> Any:
    """Of a model without a host nothing is asked: its settings refuse tasks that would."""


class Encodings:
    """Everything the tasks of a model may ask of one batch."""

    def __init__(
        self,
        batch: Batch,
        query: Towers,
        key: Towers,
        queue: FeatureQueue,
        temperature: Temperature,
        host: Callable[["Encodings"], Any] = no_host,
        gatherer: distributed.Gatherer | None = None,
        placed: Callable[[Tensor, Tensor], Tensor] = as_they_are,
    ):
        """`host` makes `hosted`: what a cross-attention host sees in this batch, and `placed` what it is given of an
        image. `gatherer` is that of the steps before."""
        self.batch, self.query, self.key, self.queue, self.temperature = batch, query, key, queue, temperature
        self.host, self.gatherer, self.placed = host, gatherer or distributed.Gatherer(), placed
        self.made: dict[Any, Any] = {}

    def once(self, asker: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, computed when `asker` first asks: for a task whose figures need what its loss made."""
        if asker not in self.made:
            self.made[asker] = make()
        return self.made[asker]

    @cached_property
    def hosted(self) -> Any:
        """Scores and attention records of the model's cross-attention host (`xmodal.matchers.hosted.Hosted`)."""
        return self.host(self)

    @cached_property
    def image_tokens(self) -> Tensor:
        """(B, R, W) of the query encoder."""
        return self.query.image(self.batch.image)

    @property
    def placed_tokens(self) -> Tensor:
        """The same, with what a host asks of where they lie."""
        return self.placed(self.image_tokens, self.batch.image)

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
        columns = self.queue.stored(self.keys).columns()
        return self.gatherer(self.batch.slot, columns, [self.batch.text.shape[1]])

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
        return self.batch.step * self.layout.rows * self.batch.parts

    @cached_property
    def i2t(self) -> "Direction":
        """The local images ask for the candidates' texts."""
        blocks = [self.gathered.text, self.queue.keys.text]
        relations = image_to_text(self.keys, self.candidates, self.layout.own)
        return Direction(self.image, self.keys.image, blocks, relations, self.temperature, self.queue.precision.product)

    @cached_property
    def t2i(self) -> "Direction":
        """The local texts ask for the candidates' images."""
        blocks = [self.gathered.image, self.queue.keys.image]
        relations = text_to_image(self.keys, self.candidates, self.layout.own)
        return Direction(self.text, self.keys.text, blocks, relations, self.temperature, self.queue.precision.product)

    @property
    def longest_text(self) -> int:
        """Text tokens of the global batch's longest text, padding included."""
        return self._gathered.longest[0]

    @cached_property
    def gathered_words(self) -> Tensor:
        """(N, L) `Batch.words` of the global batch, -1 at padding."""
        words = self.batch.words
        return self.layout.gather(pad(words, [0, self.longest_text - words.shape[1]], value=-1))

    @cached_property
    def gathered_image(self) -> Tensor:
        """(N, D) f of the global batch, with gradient from and to every rank."""
        return self.layout.gather_with_grad(self.image)

    @cached_property
    def gathered_text(self) -> Tensor:
        """(N, D) e of the global batch, with gradient from and to every rank."""
        return self.layout.gather_with_grad(self.text)

    @cached_property
    def batch_i2t(self) -> "Direction":
        """The local images ask for the global batch's texts as the query encoder has them: both sides get a gradient,
        also from and to other ranks."""
        relations = self.i2t.relations.before(self.layout.rows)
        return Direction(self.image, self.keys.image, [self.gathered_text], relations, self.temperature)

    @cached_property
    def batch_t2i(self) -> "Direction":
        """The local texts ask for the global batch's images, as `batch_i2t`."""
        relations = self.t2i.relations.before(self.layout.rows)
        return Direction(self.text, self.keys.text, [self.gathered_image], relations, self.temperature)

    @cached_property
    def gathered_tokens(self) -> "Tokens":
        """The global batch's query tokens, with gradient into the ranks that hold them."""
        longest = self.longest_text
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
    """B queries of one modality against candidates of the other: N of the global batch, then K of the queue."""

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        blocks: list[Tensor],
        relations: Relations,
        temperature: Temperature,
        product: Callable[[Tensor, Tensor], Tensor] = plain,
    ):
        self.query, self.key, self.blocks = query, key, blocks
        self.relations, self.temperature, self.product = relations, temperature, product

    def rows(self, loss: RowLoss, valid: Tensor) -> Tensor:
        """(B,) losses over the candidates, of which `valid` count."""
        return loss.whole(self, valid)

    @cached_property
    def similarity(self) -> Tensor:
        """(B, N + K) float32: the query encoder's cosines."""
        return self._dots(self.query)

    @cached_property
    def logits(self) -> Tensor:
        """(B, N + K) float32: the query encoder's similarities over the temperature."""
        return self.temperature.scaled(self.similarity)

    @cached_property
    @torch.no_grad()
    def key_logits(self) -> Tensor:
        """(B, N + K) float32: the same of the key encoder's own vectors, without gradient."""
        return self.temperature.scaled(self._dots(self.key))

    def _dots(self, vectors: Tensor) -> Tensor:
        """Block by block, so that no step copies the queue; in float32 also under autocast, whose bfloat16 puts
        neighbouring negatives at one value."""
        with torch.autocast(vectors.device.type, enabled=False):
            return torch.cat([self.product(vectors, block) for block in self.blocks], dim=1)


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

    def looked_at(self, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (N, R, W) that hold the B local ones and those of the rows `drawn` (B,), and where both stand in them:
        all of the pool's where these are the fewer."""
        if len(self.image) <= 2 * len(drawn):
            return self.image, self.own, drawn
        own = torch.arange(len(drawn), device=drawn.device)
        return self.image[torch.cat([self.own, drawn])], own, own + len(drawn)
