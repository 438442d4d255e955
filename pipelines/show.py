"""`xmodal show`: the resolved recipe, its identity, and what would run."""

from infra.storage import StorageError
from pipelines.advice import simpson, told
from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.memory import table, worker_memory
from pipelines.recipe import Recipe, stated_recipe
from pipelines.taxa import species_keys
from pipelines.train.plan import written
from xmodal.settings import SettingsError, dump_yaml


def show(arguments: tuple[str, ...], whole: bool = False) -> str:
    """What `show` prints: a YAML document whose comments say what the settings come to."""
    stated = stated_recipe(arguments)
    recipe = stated.restated()
    notes = [f"fingerprint {recipe.fingerprint()}", *_restated(stated, recipe), *_dataset(recipe)]
    return "\n".join([*(f"# {note}" for note in notes), dump_yaml(recipe, whole).rstrip()])


def _restated(stated: Recipe, recipe: Recipe) -> list[str]:
    """What became of a rate and a coefficient that were meant for another batch."""
    if recipe is stated:
        return []
    rates = [one.train.optimizer.learning_rate for one in (stated, recipe)]
    coefficients = [one.model.momentum.coefficient for one in (stated, recipe)]
    return [
        f"stated for batches of {stated.train.stated_batch}, of {recipe.train.global_batch} now: learning rate "
        "{:.4g} becomes {:.4g}, momentum coefficient {:.6g} becomes {:.6g}".format(*rates, *coefficients)
    ]


def _dataset(recipe: Recipe) -> list[str]:
    try:
        dataset = Dataset.open(recipe.compute.store(), recipe.data.name, recipe.data.version)
    except (NotFound, StorageError) as error:
        return [
            *told(recipe),
            f"dataset {recipe.data.name}: not prepared yet, or not reachable ({error})",
            "would run: prepare, then train",
        ]
    rows = dataset.counts.get("train", 0)
    batches = -(-rows // recipe.train.global_batch)
    workers = written(recipe.compute.world_sizes)
    steps = f"{recipe.train.epochs} epochs of {batches} batches on {workers} workers"
    return [
        *told(recipe, recipe.train.epochs * batches, rows, _share(recipe, dataset)),
        f"dataset {dataset.name} version {dataset.version}, digest {dataset.digest[:16]}, images {dataset.counts}",
        f"run {recipe.name}-{recipe.fingerprint(dataset.digest)}: {steps}",
        *_memory(recipe, dataset),
    ]


def _memory(recipe: Recipe, dataset: Dataset) -> list[str]:
    """What a worker needs; of an encoder that is not at hand the reason alone, for the recipe is shown all the same."""
    try:
        return table(worker_memory(recipe, dataset))
    except SettingsError as error:
        return [f"memory of a worker: not known here ({error})"]


def _share(recipe: Recipe, dataset: Dataset) -> float | None:
    """Sum of squared species shares of the train split; None where no training image names a species."""
    species = species_keys(dataset.records(["facts"], split="train")["facts"].to_pylist())
    return simpson(species, recipe.train.class_power) if any(species) else None
