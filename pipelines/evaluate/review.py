"""The section on what is left to people: measured at unseen places, and told of the frames that nobody has labelled."""

from pipelines.dataset import Dataset
from pipelines.evaluate.acceptance import Learnt
from pipelines.predictions.labels import by_people
from pipelines.predictions.trust import WANTED
from pipelines.report.content import Review


def review(dataset: Dataset, found: Learnt | None, seconds: float) -> Review:
    """Without a word where nothing was learnt of the model's confidence, or no unseen place tells."""
    if found is None or not found.trust.tested:
        return Review()
    return Review(found.trust.tested[str(WANTED)], found.review, unlabelled(dataset), seconds)


def unlabelled(dataset: Dataset) -> int:
    """Images of a version that people have not labelled."""
    counts = dataset.records(["facts"])["facts"].value_counts().to_pylist()
    return sum(one["counts"] for one in counts if not by_people(one["values"]))
