"""`xmodal show`: the resolved recipe, its identity, and what would run."""

from infra.storage import StorageError
from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.recipe import Recipe, load_recipe
from xmodal.momentum import staleness
from xmodal.settings import dump_yaml


def show(arguments: tuple[str, ...], whole: bool = False) -> str:
    """What `show` prints: a YAML document whose comments say what the settings come to."""
    recipe = load_recipe(arguments)
    notes = [f"fingerprint {recipe.fingerprint()}", *_momentum(recipe), *_dataset(recipe)]
    return "\n".join([*(f"# {note}" for note in notes), dump_yaml(recipe, whole).rstrip()])


def _momentum(recipe: Recipe) -> list[str]:
    """Age and staleness of the oldest key (`momentum.coefficient`, `queue.size`, `train.global_batch`)."""
    model, batch = recipe.model, recipe.train.global_batch
    old = staleness(model.momentum.coefficient, model.queue.size, batch)
    age = f"{model.queue.size / batch:.0f} steps old at most"
    return [f"queue of {model.queue.size} keys: {age}, staleness {old:.2f} (0 none, 1 all)"]


def _dataset(recipe: Recipe) -> list[str]:
    try:
        dataset = Dataset.open(recipe.compute.store(), recipe.data.name, recipe.data.version)
    except (NotFound, StorageError) as error:
        return [
            f"dataset {recipe.data.name}: not prepared yet, or not reachable ({error})",
            "would run: prepare, then train",
        ]
    batches = -(-dataset.counts.get("train", 0) // recipe.train.global_batch)
    steps = f"{recipe.train.epochs} epochs of {batches} batches on {recipe.compute.workers} workers"
    return [
        f"dataset {dataset.name} version {dataset.version}, digest {dataset.digest[:16]}, images {dataset.counts}",
        f"run {recipe.name}-{recipe.fingerprint(dataset.digest)}: {steps}",
    ]
