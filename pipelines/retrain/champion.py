"""The model that serves, as a retraining knows it."""

from dataclasses import dataclass

from infra.storage import Store
from pipelines.dataset import Dataset, versions
from pipelines.errors import Failed
from pipelines.promotions import Promotions
from pipelines.train.runs import opened
from xmodal import checkpoint


@dataclass(frozen=True)
class Champion:
    """The version that serves, and the training run that made it."""

    version: int
    run: str


def serving(promotions: Promotions) -> Champion | None:
    """The champion, after an unfinished promotion was followed up. Raises Failed where its run is not known."""
    version = promotions.settle()
    if version is None:
        return None
    run = promotions.registry.training_run(version)
    if run is None:
        raise Failed(
            f"{promotions.registry.model}/{version}: the champion was not trained by xmodal, so nothing can be "
            "compared with it; promote a version that was"
        )
    return Champion(version, run)


def trained_on(store: Store, champion: Champion, dataset: Dataset) -> Dataset | None:
    """The version of this dataset that the champion was trained on; None where that was another dataset's, or is gone:
    then everything is new. Raises NotFound, Damaged."""
    with opened(store, champion.run) as directory:
        state = checkpoint.read_state(directory)
    number = state["dataset_version"]
    if state["dataset"] != dataset.name or number not in versions(store, dataset.name):
        return None
    return Dataset.open(store, dataset.name, number)
