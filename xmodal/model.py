"""CrossModalModel: one batch -> encodings -> the named losses of its tasks; after the step the key encoder follows and
the queue takes the batch's keys.

    losses = model(batch)                       # forward changes no state
    weighted sum; backward; optimizer.step()
    model.after_step(step)                      # average first, then push: the order is fixed here
"""

from collections.abc import Callable
from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn

from xmodal.batch import Batch
from xmodal.encoders import ImageEncoderSettings, TextEncoderSettings
from xmodal.encoders.transformer import Transformer
from xmodal.encoders.vit import ViT
from xmodal.encodings import Encodings, Tower, Towers
from xmodal.heads import HeadSettings, Linear, Standardise, pooled
from xmodal.momentum import MomentumSettings
from xmodal.queue import Keys, QueueSettings
from xmodal.settings import Settings
from xmodal.sizes import Sizes
from xmodal.tasks import Tasks
from xmodal.temperature import TemperatureSettings
from xmodal.wordpiece import WordPiece


class ModelSettings(Settings):
    """Encoders, shared space, momentum, queue and tasks."""

    schema_version = 2
    """1 had a momentum warm-up of 10 by default."""

    embed_dim: int = Field(default=256, ge=1)
    """Dimensions of the shared space (D)."""
    head: HeadSettings = Linear(kind="linear")
    """Projection of pooled tokens into the shared space."""
    image: ImageEncoderSettings = ViT(kind="vit")
    """Image encoder."""
    text: TextEncoderSettings = Transformer(kind="transformer")
    """Text encoder."""
    momentum: MomentumSettings = MomentumSettings()
    """How the key encoder follows the query encoder."""
    queue: QueueSettings = QueueSettings()
    """Keys of earlier batches that serve as candidates."""
    temperature: TemperatureSettings = TemperatureSettings()
    """Temperature of similarities."""
    tasks: Tasks = Tasks()
    """What is trained."""
    caption_length: int = Field(default=24, ge=3)
    """Most WordPiece pieces of a caption (C), [CLS] and [SEP] included."""


class CrossModalModel(nn.Module):
    """Query and key encoders, temperature, tasks, and the queue (which is no part of the module tree)."""

    def __init__(self, settings: ModelSettings, wordpiece: WordPiece, attributes: int, seed: int = 0):
        """`attributes` is A, `seed` keys the draw of hard negatives. Weights come from torch's global generator."""
        super().__init__()
        self.settings, self.weights = settings, settings.tasks.weights
        image, text = settings.image.build(), settings.text.build(wordpiece)
        self.query = Towers(
            Tower(image, settings.image.frozen, settings.embed_dim, settings.head),
            Tower(text, settings.text.frozen, settings.embed_dim, settings.head),
        )
        self.key = settings.momentum.build(self.query)
        self.temperature = settings.temperature.build()
        sizes = Sizes(image.width, text.width, len(wordpiece), settings.caption_length, seed)
        self.tasks = settings.tasks.build(sizes)
        self.queue = settings.queue.build(settings.embed_dim, attributes)
        self.fresh_keys: list[Keys] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses by task name, each this rank's share of the global mean: averaged over ranks they are it.

        In training the batch's keys are kept for `after_step`; several forwards may come before one (accumulation).
        """
        encodings = Encodings(batch, self.query, self.key.encoder, self.queue, self.temperature)
        unused = 0.0 * (encodings.image.sum() + encodings.text.sum() + self.temperature.value)
        losses = {name: task(encodings) + unused for name, task in self.tasks.items()}
        if self.training and torch.is_grad_enabled():
            self.fresh_keys.append(encodings.gathered)
        return losses

    def after_step(self, step: int) -> None:
        """After optimizer step `step` (0-based): the key encoder follows, then the queue takes the step's keys."""
        self.temperature.clamp()
        self.key.follow(self.query, step)
        for keys in self.fresh_keys:
            self.queue.push(keys, step)
        self.fresh_keys.clear()

    def state_metrics(self, step: int) -> dict[str, float]:
        """Coefficient, queue fill, age and staleness of the oldest key, temperature, before optimizer step `step`."""
        coefficient, age = self.settings.momentum.at(step), self.queue.age(step)
        return {
            "momentum/coefficient": coefficient,
            "momentum/staleness": 1 - coefficient**age,
            "queue/fill": len(self.queue) / max(1, self.queue.size),
            "queue/age": float(age),
            "temperature": self.temperature.value.item(),
        }

    @property
    def standardised(self) -> list[Standardise]:
        """Norms that take statistics of the training set before the first step: those behind frozen encoders."""
        return [one for one in self.query.modules() if isinstance(one, Standardise)]

    @torch.no_grad()
    def pool_image(self, x: Tensor) -> Tensor:
        """(B, W) mean image token of what `encode_image` takes: what its head's norm sees."""
        tokens = self.query.image(x)
        return pooled(tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))

    @torch.no_grad()
    def pool_text(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, W) mean text token of what `encode_text` takes."""
        return pooled(self.query.text(x, mask), mask)

    def fit_norms(self, image: Tensor, text: Tensor) -> None:
        """Fits `standardised` to pooled training vectors (N, W) and (M, W), and starts the momentum anew."""
        for tower, vectors in ((self.query.image, image), (self.query.text, text)):
            for norm in tower.modules():
                if isinstance(norm, Standardise):
                    norm.fit(vectors)
        self.restart_momentum()

    def restart_momentum(self) -> None:
        """The key encoder becomes equal to the query encoder and the queue empty: after weights came from elsewhere."""
        self.key.reset(self.query)
        self.queue.clear()

    @property
    def identities(self) -> dict[str, str]:
        """Identity of each frozen encoder, whose weights are no part of a checkpoint."""
        towers = {"image": (self.settings.image, self.query.image), "text": (self.settings.text, self.query.text)}
        return {name: tower.encoder.identity() for name, (settings, tower) in towers.items() if settings.frozen}

    @torch.no_grad()
    def encode_image(self, x: Tensor) -> Tensor:
        """(B, D) unit vectors of pixels, or of features where the image encoder is frozen."""
        return self.query.image_vectors(self.query.image(x))

    @torch.no_grad()
    def encode_text(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, D) unit vectors of token ids, or of features where the text encoder is frozen."""
        return self.query.text_vectors(self.query.text(x, mask), mask)

    @torch.no_grad()
    def image_features(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 pixels as what `encode_image` takes."""
        return self.query.image.encoder.features(pixels)

    @torch.no_grad()
    def text_features(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Texts as what `encode_text` takes, with their mask, on the model's device."""
        device = self.temperature.value.device
        encoder = self.query.text.encoder
        ids, mask = encoder.tokenize(texts)
        return encoder.features(ids.to(device), mask.to(device))

    @torch.no_grad()
    def generate(self, x: Tensor, length: int, beams: int = 1) -> Tensor:
        """(B, C) ids of captions of at most `length` pieces. Raises KeyError where the model has no lm task."""
        return self.tasks["lm"].generate(self.query.image(x), length, beams)  # pyright: ignore[reportCallIssue]

    @torch.no_grad()
    def matching_scores(self, image: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """(B,) score of image i and text i being a pair (logit of `is a pair`, as ALBEF re-ranks). Raises KeyError
        where the model has no itm task."""
        tokens = self.query.text(text, mask)
        return self.tasks["itm"].logits(tokens, mask, self.query.image(image))[:, 1]  # pyright: ignore

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # what moves a module to a device; the queue follows
        self.queue.to(self.temperature.value.device)
        return self
