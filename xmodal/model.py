"""CrossModalModel: one batch -> encodings -> the named losses of its tasks; after the step the key encoder follows and
the queue takes the batch's keys.

    losses = model(batch)                       # forward changes no state
    weighted sum; backward; optimizer.step()
    model.after_step(step)                      # average, refresh, push: the order is fixed here
"""

from collections.abc import Callable
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from xmodal import refresh
from xmodal.batch import Batch
from xmodal.distributed import Gatherer
from xmodal.encoders import ImageEncoderSettings, TextEncoderSettings
from xmodal.encoders.transformer import Transformer
from xmodal.encoders.vit import ViT
from xmodal.encodings import Encodings, Tower, Towers, no_host
from xmodal.enhance import EnhancerSettings
from xmodal.heads import HeadSettings, Linear, Standardise
from xmodal.matchers import MatcherSettings
from xmodal.momentum import KeyEncoder, MomentumSettings
from xmodal.pooling import MEAN, PoolingSettings
from xmodal.positions import PLACED
from xmodal.queue import Keys, QueueSettings
from xmodal.settings import Settings
from xmodal.shards import ShardedEncodings
from xmodal.sizes import Sizes
from xmodal.tasks import Tasks
from xmodal.tasks.distil import Distilling
from xmodal.temperature import TemperatureSettings
from xmodal.wordpiece import WordPiece

ENCODINGS = {False: Encodings, True: ShardedEncodings}
"""By `queue.sharded`."""
SHARDED = ("itc", "itm", "lm", "cons", "distil", "uto", "triplet", "ccr", "ccs", "entropy")
"""Tasks that ask stored keys for nothing, or for what can be merged from shares (`xmodal.rows`)."""
HOSTED = ("triplet", "ccr", "ccs", "entropy")
"""Tasks that see images and texts through the matcher alone."""
OF_TOKENS = (*HOSTED, "itm", "lm")
"""Tasks that give the pooled vectors no gradient."""


class ModelSettings(Settings):
    """Encoders, shared space, momentum, queue and tasks."""

    schema_version = 2
    """1 had a momentum warm-up of 10 by default."""

    embed_dim: int = Field(default=256, ge=1)
    """Dimensions of the shared space (D)."""
    head: HeadSettings = Linear(kind="linear")
    """Projection of tokens into the shared space."""
    text_head: HeadSettings | None = None
    """The same of the text tower, where it differs."""
    pooling: PoolingSettings = MEAN
    """How the tokens of an image or a text become one vector."""
    image: ImageEncoderSettings = ViT(kind="vit")
    """Image encoder."""
    text: TextEncoderSettings = Transformer(kind="transformer")
    """Text encoder."""
    image_enhance: tuple[EnhancerSettings, ...] = ()
    """What is done to the image encoder's tokens before the head and the tasks see them, in order."""
    text_enhance: tuple[EnhancerSettings, ...] = ()
    """The same of the text encoder's tokens."""
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
    matcher: MatcherSettings | None = None
    """Cross-attention host of the tasks triplet, ccr, ccs and entropy."""

    @model_validator(mode="after")
    def _hosts_and_tasks_fit(self) -> "ModelSettings":
        """A host's own task is there (a weight without gradient would stop distributed training), and the reverse."""
        kind, tasks = self.matcher and self.matcher.kind, self.tasks.present
        own = {None: None, "fusion": "itm"}.get(kind, "triplet")
        hosted = [task for task in HOSTED if task in tasks]
        if kind is None and hosted:
            raise ValueError(f"tasks.{hosted[0]} needs model.matcher")
        if "triplet" in hosted and own != "triplet":
            raise ValueError("tasks.triplet needs model.matcher of another kind")
        if own and own not in tasks:
            raise ValueError(f"matcher {kind} needs tasks.{own}")
        return self

    @model_validator(mode="after")
    def _constraints_have_words(self) -> "ModelSettings":
        """Of one token alone nothing is attended to more than something else: they would be 0, and nobody would see."""
        pool = getattr(self.text, "pool", "tokens")
        constraints = [name for name in HOSTED if name in self.tasks.present and name != "triplet"]
        if constraints and pool != "tokens":
            raise ValueError(f"tasks.{constraints[0]} needs words, and text.pool is {pool}: one token; allowed: tokens")
        return self

    @model_validator(mode="after")
    def _positions_are_read(self) -> "ModelSettings":
        """Blocks that nobody asks for, or that are asked for and not there."""
        given, asked = (bool(getattr(one, "positions", False)) for one in (self.image, self.matcher))
        if given != asked:
            raise ValueError(f"image.positions is {given} and model.matcher.positions {asked}: pfan needs both")
        return self

    @model_validator(mode="after")
    def _prototypes_have_rows(self) -> "ModelSettings":
        if "anchor" in self.tasks.present and self.queue.size == 0:
            raise ValueError("tasks.anchor takes its prototypes from the queue, and queue.size is 0")
        return self

    @model_validator(mode="after")
    def _shares_can_be_merged(self) -> "ModelSettings":
        """Of a sharded queue no worker sees all keys."""
        tasks = self.tasks.present
        whole = [f"tasks.{name}" for name in tasks if name not in SHARDED]
        whole += ["tasks.itc.distillation"] * bool("itc" in tasks and tasks["itc"].distillation)
        if self.queue.sharded and whole:
            raise ValueError(
                f"{whole[0]} needs all stored keys in one place, and queue.sharded is True; with it go itc without "
                f"distillation, {', '.join(SHARDED[1:])}"
            )
        return self

    @model_validator(mode="after")
    def _a_guide_is_taken_off_first(self) -> "ModelSettings":
        """A guide that no enhancer takes off would be a region, a region taken for a guide would be lost."""
        first, given = self.image_enhance[:1], getattr(self.image, "guide_width", 0)
        asked = first[0].guide_width if first and first[0].kind == "clip_guided" else 0
        others = (*self.image_enhance[1:], *self.text_enhance)
        if given != asked or any(one.kind == "clip_guided" for one in others):
            raise ValueError(
                f"image_enhance: an image encoder with a guide of {given} numbers (0 = none) and clip_guided of "
                f"{asked} do not fit; clip_guided must stand first of image_enhance where there is a guide, and only "
                "there"
            )
        return self


class CrossModalModel(nn.Module):
    """Query and key encoders, temperature, tasks, and the queue (which is no part of the module tree)."""

    def __init__(self, settings: ModelSettings, wordpiece: WordPiece, attributes: int, seed: int = 0):
        """`attributes` is A, `seed` keys the draw of hard negatives. Weights come from torch's global generator."""
        super().__init__()
        self.settings, self.weights, self.wordpiece = settings, settings.tasks.weights, wordpiece
        image, text = settings.image.build(), settings.text.build(wordpiece)
        text_head, pooling = settings.text_head or settings.head, settings.pooling
        self.query = Towers(
            Tower(image, settings.image.frozen, settings.embed_dim, settings.head, settings.image_enhance, pooling),
            Tower(text, settings.text.frozen, settings.embed_dim, text_head, settings.text_enhance, pooling),
        )
        self.key = settings.momentum.build(self.query)
        self.refresh = refresh.build(settings.queue.refresh, self.key)
        self.temperature = settings.temperature.build()
        widths, lengths = (self.query.image.width, self.query.text.width), (len(wordpiece), settings.caption_length)
        patches = settings.image.kind != "precomputed"
        sizes = Sizes(*widths, *lengths, seed, attributes, settings.momentum, wordpiece, patches)
        self.tasks = settings.tasks.build(sizes)
        self.host = settings.matcher.build(sizes, self.tasks) if settings.matcher else no_host
        self.placed = PLACED[bool(getattr(settings.image, "positions", False))]
        self.queue = settings.queue.build(settings.embed_dim, attributes)
        self.encodings_type, self.gatherer = ENCODINGS[settings.queue.sharded], Gatherer()
        self.fresh_keys: list[Keys] = []
        self.told = {name: task for name, task in self.tasks.items() if hasattr(task, "figures")}
        self.figures: dict[str, Tensor] = {}
        self.key_encoders = {name: one for name, one in self.named_modules() if isinstance(one, KeyEncoder)}
        """The key encoder, and the averages that tasks have of their own modules, by their place in the model."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses by task name, each this rank's share of the global mean: averaged over ranks they are it.

        In training the batch's keys are kept for `after_step`; several forwards may come before one (accumulation).
        What tasks tell of the batch beside their loss lies in `figures` until the next, shares of global means too.
        """
        encodings = self.encodings(batch)
        unused = 0.0 * (encodings.image.sum() + encodings.text.sum() + self.temperature.value)
        losses = {name: task(encodings) + unused for name, task in self.tasks.items()}
        if self.training and torch.is_grad_enabled():
            self.fresh_keys.append(encodings.gathered)
            self.refresh.remember(batch, encodings.layout)
            said = ((name, task.figures(encodings)) for name, task in self.told.items())  # pyright: ignore
            self.figures = {f"{name}/{one}": value for name, found in said for one, value in found.items()}
        return losses

    def encodings(self, batch: Batch) -> Encodings:
        """What the tasks may ask of a batch."""
        shared = (self.query, self.key.encoder, self.queue, self.temperature)
        return self.encodings_type(batch, *shared, self.host, self.gatherer, self.placed)

    def after_step(self, step: int) -> None:
        """After optimizer step `step` (0-based): key encoders follow, stored keys may be refreshed, then the queue
        takes the step's keys."""
        self.temperature.clamp()
        for key in self.key_encoders.values():
            key.follow(step)
        self.refresh(self.queue, step)
        for keys in self.fresh_keys:
            self.queue.push(keys, step)
        self.fresh_keys.clear()

    def state(self, step: int) -> dict[str, Tensor]:
        """Queue fill and age of the oldest key, temperature, and what the enhancers tell, before optimizer step `step`:
        () numbers on the model's device."""
        return {
            "queue/fill": self.queue.fill(),
            "queue/age": self.queue.age(step),
            "temperature": self.temperature.value,
            **self.query.enhancer_metrics(),
            **self.refresh.metrics(),
        }

    def state_metrics(self, step: int, state: dict[str, float]) -> dict[str, float]:
        """What was read of `state`, with the momentum's coefficient and the staleness of the oldest key."""
        momentum, age = self.settings.momentum, int(state["queue/age"])
        told = {"momentum/coefficient": momentum.at(step), "momentum/staleness": momentum.staleness(age, step)}
        return told | state

    def replicated(self) -> dict[str, Tensor]:
        """What every rank keeps for itself and must hold alike: the queue, and the weights of the key encoders. Of a
        sharded queue that is how many rows it has and the steps that wrote them: a row that one rank alone holds can be
        compared with nothing."""
        queue = {f"queue.{name}": column for name, column in self.queue.alike().items()}
        averages = ((place, one.encoder.named_parameters()) for place, one in self.key_encoders.items())
        return queue | {f"{place}.{name}": weight for place, own in averages for name, weight in own}

    @property
    def trains_vectors(self) -> bool:
        """Whether any task trains what `encode_image` and `encode_text` give; without one they stay what they were."""
        return any(name not in OF_TOKENS for name in self.weights)

    @property
    def standardised(self) -> list[Standardise]:
        """Norms that take statistics of the training set before the first step: those behind frozen encoders."""
        return [one for one in self.query.modules() if isinstance(one, Standardise)]

    @torch.no_grad()
    def pool_image(self, x: Tensor) -> Tensor:
        """(B, W) pooled image tokens of what `encode_image` takes: what its head's norm sees."""
        tokens = self.query.image(x)
        return self.query.image.head.pool(tokens, tokens.new_ones(tokens.shape[:2], dtype=torch.bool))

    @torch.no_grad()
    def pool_text(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, W) pooled text tokens of what `encode_text` takes."""
        return self.query.text.head.pool(self.query.text(x, mask), mask)

    def fit_norms(self, image: Tensor, text: Tensor) -> None:
        """Fits `standardised` to pooled training vectors (N, W) and (M, W), and starts the momentum anew."""
        for tower, vectors in ((self.query.image, image), (self.query.text, text)):
            for norm in tower.modules():
                if isinstance(norm, Standardise):
                    norm.fit(vectors)
        self.restart_momentum()

    def restart_momentum(self) -> None:
        """Key encoders become equal to what they follow and the queue empty: after weights came from elsewhere."""
        for key in self.key_encoders.values():
            key.reset()
        self.queue.clear()

    @property
    def identities(self) -> dict[str, str]:
        """Identity of each frozen encoder, whose weights are no part of a checkpoint."""
        towers = {"image": (self.settings.image, self.query.image), "text": (self.settings.text, self.query.text)}
        return {name: tower.encoder.identity() for name, (settings, tower) in towers.items() if settings.frozen}

    @property
    def teachers(self) -> dict[str, str]:
        """Identity of the teacher that the model started from; a resume needs the same, inference needs none."""
        return {f"{name} teacher": one.identity() for name, one in self.tasks.items() if isinstance(one, Distilling)}

    def vocabularies(self, wordpiece: WordPiece) -> dict[str, tuple[str, ...]]:
        """The pieces, by id, that each part with weights of them would have with the caption vocabulary `wordpiece`."""
        text = {"text": self.settings.text.pieces(wordpiece)} if not self.settings.text.frozen else {}
        return text | ({"lm": wordpiece.tokens} if "lm" in self.weights else {})

    @torch.no_grad()
    def placed_tokens(self, x: Tensor) -> Tensor:
        """(B, R, W) image tokens as a cross-attention host is given them, of what `encode_image` takes."""
        return self.placed(self.query.image(x), x)

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
