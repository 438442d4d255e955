"""What a training run will read and in which order: fixed by the recipe and the dataset version before it starts."""

from dataclasses import dataclass
from typing import Any

import torch

from infra.storage import Store
from pipelines.code import code_version
from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.gallery import Split, encode
from pipelines.prepare.leakage import refuse_leaks
from pipelines.recipe import Recipe
from pipelines.taxa import species_facts
from pipelines.train.caption_words import CaptionWords, NoWords
from pipelines.train.lanes import LaneSource, training_rows
from pipelines.train.lengths import AsDrawn, ByLength, arrangement
from pipelines.train.order import LaneOrder
from pipelines.train.replay import Replay
from pipelines.train.runs import opened
from pipelines.train.samples import FeatureImages, FeatureTexts, PixelImages, SampleReader, TokenTexts, VariedTexts
from xmodal import checkpoint
from xmodal.corruption import Corruption, Pieces
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError
from xmodal.wordpiece import WordPiece

FITTED_ON = 2000
"""Training images, evenly spread, whose features are standardised by."""


@dataclass(frozen=True)
class TrainingPlan:
    """Dataset version, order and reader of a run; it pickles and goes to every process."""

    store: Store
    dataset: str
    version: int
    digest: str
    epochs: int
    order: LaneOrder
    arrange: AsDrawn | ByLength
    """Which of a lane's rows meet in a batch."""
    reader: SampleReader
    code: dict[str, str]
    """Version and commit of the code, as the driver has them: a worker's node may have no checkout."""

    @classmethod
    def of(cls, recipe: Recipe, dataset: Dataset) -> "TrainingPlan":
        """Raises DataRefused where the train split is empty or the splits cross, SettingsError where workers do not
        divide the lanes."""
        settings = recipe.train
        rows = training_rows(dataset, (settings.replay or Replay()).left_out(dataset))
        if len(rows) == 0:
            raise DataRefused(f"dataset {dataset.name} version {dataset.version}: no image in the train split")
        refuse_leaks(dataset)
        check_shares(settings.lanes, recipe.compute.world_sizes)
        order = LaneOrder(
            rows, settings.seed, settings.global_batch, settings.lanes, settings.window, settings.class_power
        )
        reader = sample_reader(recipe, dataset)
        names = (dataset.store, dataset.name, dataset.version, dataset.digest)
        return cls(*names, settings.epochs, order, arrangement(settings.length_window), reader, code_version())

    @property
    def total_steps(self) -> int:
        return self.epochs * self.order.batches

    @property
    def total_samples(self) -> int:
        return self.total_steps * self.order.global_batch

    def open(self) -> Dataset:
        """The dataset version, from any process."""
        return Dataset.open(self.store, self.dataset, self.version)

    def lanes(self) -> LaneSource:
        return LaneSource(self.store, self.dataset, self.version, self.order, self.arrange, self.reader)

    def initialise(self, model: CrossModalModel) -> None:
        """What a fresh run's model takes from the data before its first step."""
        fit_norms(model, self.open(), self.reader)

    def provenance(self) -> dict[str, Any]:
        """Where a checkpoint's data came from, what code trained it, and the species (with taxon facts) it was
        trained on."""
        taxa = species_facts(self.open().records(["facts"], split="train")["facts"].to_pylist())
        names = {"dataset": self.dataset, "dataset_version": self.version, "dataset_digest": self.digest}
        return names | {"code": self.code, "taxa": taxa}


def check_shares(lanes: int, world_sizes: range) -> None:
    """Raises SettingsError where a number of workers that may come about does not divide the lanes."""
    for size in world_sizes:
        if lanes % size:
            fit = ", ".join(str(number) for number in range(1, lanes + 1) if lanes % number == 0)
            raise SettingsError(
                f"compute.workers: {size} workers cannot share {lanes} lanes evenly, and {written(world_sizes)} are "
                f"asked for; of train.lanes {lanes} these numbers can: {fit}"
            )


def written(world_sizes: range) -> str:
    """`4`, or `1 to 4`."""
    return " to ".join(str(number) for number in sorted({world_sizes[0], world_sizes[-1]}))


def sample_reader(recipe: Recipe, dataset: Dataset, words: WordPiece | None = None) -> SampleReader:
    """How rows of `dataset` become samples of this recipe's encoders: cached features where an encoder is frozen. Texts
    are cut into pieces of the vocabulary `words`, without one of the dataset's own."""
    model, seed = recipe.model, recipe.train.seed
    wordpiece = words or dataset.wordpiece()
    if model.image.frozen:
        features = dataset.feature(model.image.build().identity())
        images = FeatureImages(features.encoder, tuple(features.shape))
    else:
        images = PixelImages(dataset.pixel_size, recipe.train.augment, seed)
    if model.text.frozen:
        if recipe.train.words is not None:
            raise SettingsError("train.words: the text encoder is frozen, so its words cannot change; take null")
        features = dataset.feature(model.text.build(wordpiece).identity())
        texts = FeatureTexts(features.encoder, tuple(features.shape))
    else:
        texts = token_texts(recipe, wordpiece)
    attributes, document = len(dataset.attributes()), wordpiece.to_json()
    places = CaptionWords(model.text, document, texts.shape[0]) if model.matcher else NoWords()
    return SampleReader(images, texts, document, model.caption_length, attributes, seed, places)


def token_texts(recipe: Recipe, wordpiece: WordPiece) -> TokenTexts:
    """What a trained text encoder reads, its words varied where the recipe asks for it. Raises SettingsError."""
    words, text, document = recipe.train.words, recipe.model.text, wordpiece.to_json()
    if words is None:
        return TokenTexts(text, document, text.longest)
    if recipe.model.matcher is not None:
        raise SettingsError("train.words: corruption moves words, and model.matcher needs their places; take null")
    return VariedTexts(
        text, document, text.longest, Corruption(words, Pieces.of(text.pieces(wordpiece)), recipe.train.seed)
    )


def fit_norms(model: CrossModalModel, dataset: Dataset, reader: SampleReader) -> None:
    """Gives a new model the statistics of the frozen features of the train split, where it standardises any."""
    if model.standardised:
        some = Split.of(dataset, reader, ("train",), FITTED_ON)
        found = encode(some, model.pool_image, model.pool_text, model.temperature.value.device)
        model.fit_norms(torch.cat(found.images), torch.cat(found.texts))


def starting_model(recipe: Recipe, dataset: Dataset, reader: SampleReader) -> CrossModalModel:
    """The model that a run of `recipe` begins with, on the CPU: the seed's weights and the data's statistics. What
    `train.init_from` would bring is not in it: that has been trained. Draws of the caller are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        model = build_model(recipe, dataset)
    fit_norms(model, dataset, reader)
    return model


def build_model(recipe: Recipe, dataset: Dataset) -> CrossModalModel:
    """An untrained model of the recipe's shape with the dataset's vocabulary."""
    return CrossModalModel(recipe.model, dataset.wordpiece(), len(dataset.attributes()), recipe.train.seed)


def warm_start(model: CrossModalModel, recipe: Recipe, root: Store) -> None:
    """Gives `model` the weights of the recipe's `init_from`, where it names any; key encoders start equal to them, the
    queue empty. Raises NotFound, and Damaged also where the weights are of other words."""
    source = recipe.train.init_from
    if source is not None:
        with opened(root, source) as directory:
            checkpoint.load_warm(directory, model)
