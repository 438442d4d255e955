"""Report sections about the dataset, the run and the space as a whole."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pyarrow.compute as pc

from pipelines.dataset import Dataset
from pipelines.evaluate.subject import Subject
from pipelines.recipe import Recipe
from pipelines.report.content import About, Curves, Data, LedgerRow, Map, SplitRow, SurveyRow
from pipelines.report.embedding_map import project
from pipelines.taxa import species_keys
from xmodal.settings import dump_yaml

CURVES = {
    "Loss": {"train": "train/loss"},
    "Contrastive loss (ITC)": {"train": "train/itc"},
    "Matching loss (ITM)": {"train": "train/itm"},
    "Captioning loss (LM)": {"train": "train/lm"},
    "Unified objective (UTO)": {"train": "train/uto"},
    "Consistency loss": {"train": "train/cons"},
    "Anchor loss": {"train": "train/anchor"},
    "Distillation loss": {"train": "train/distil"},
    "Triplet loss": {"train": "train/triplet"},
    "Losses of attention constraints": {"CCR": "train/ccr", "CCS": "train/ccs", "entropy": "train/entropy"},
    "Constraints, share of fragments they train": {"CCR": "train/ccr/active", "CCS": "train/ccs/active"},
    "Attention, entropy (1 = the same everywhere)": {"CCR": "train/ccr/entropy", "CCS": "train/ccs/entropy"},
    "Relevance to a fragment": {
        "attended": "train/ccr/r_pos",
        "re-sourced": "train/ccr/r_neg",
        "swapped": "train/ccs/r_neg",
    },
    "Dead positives of UTO, share at or below 0": {"train": "train/uto/dead_positives"},
    "Validation score": {"val": "val/score"},
    "Sum of the six recalls": {"val": "val/rsum"},
    "Image to text, R@1 in %": {"val": "val/i2t/r1"},
    "Text to image, R@1 in %": {"val": "val/t2i/r1"},
    "Queue, share filled": {"": "queue/fill"},
    "Key encoder, movement in one step (1 − cos)": {"": "queue/drift"},
    "Queue, leak": {"images": "queue/leak_image", "texts": "queue/leak_text"},
    "Momentum coefficient": {"": "momentum/coefficient"},
    "Queue, staleness": {"": "momentum/staleness"},
    "Temperature": {"": "temperature"},
    "Samples a second": {"": "time/samples_per_second"},
    "Share of a step waiting for data": {"": "time/data_wait"},
}
"""Panel -> {line: key of the training log}."""
LIBRARIES = ("torch", "ray", "transformers", "mlflow", "pyarrow", "xmodal")


def data_section(dataset: Dataset) -> Data:
    """Surveys, the ledger's counts, licences and splits."""
    rows = dataset.ledger().group_by(["status", "reason"]).aggregate([("key", "count")]).to_pylist()
    ledger = sorted(rows, key=lambda row: -row["key_count"])
    records = dataset.records(["split", "place", "facts", "licence"])
    surveys = [
        SurveyRow(one["name"], one["source"], one["files"], one["samples"]) for one in dataset.document["surveys"]
    ]
    return Data(
        dataset=f"{dataset.name}, version {dataset.version}, digest {dataset.digest[:16]}",
        surveys=surveys,
        ledger=[LedgerRow(row["status"], row["reason"] or "", row["key_count"]) for row in ledger],
        licences=Counter(licence or "none stated" for licence in records["licence"].to_pylist()),
        splits=[_split(records, name) for name in sorted(set(records["split"].to_pylist()))],
    )


def _split(records: Any, name: str) -> SplitRow:
    own = records.filter(pc.equal(records["split"], name))  # pyright: ignore[reportAttributeAccessIssue]
    named = (own["place"].to_pylist(), species_keys(own["facts"].to_pylist()))
    places, species = (len(set(column) - {None}) for column in named)
    return SplitRow(name, len(own), places or None, species or None)


def curves(history: Sequence[Mapping[str, Any]]) -> Curves:
    """Losses, validation figures and the state of the queue over optimizer steps."""

    def points(key: str) -> list[tuple[float, float]]:
        return [(row["step"], row[key]) for row in history if key in row]

    return Curves({title: {line: points(key) for line, key in lines.items()} for title, lines in CURVES.items()})


def embedding_map(subject: Subject) -> Map:
    """The split's images on a plane, labelled by species; without a map where no image names one."""
    pairs = zip(subject.species, subject.records, strict=True)
    labels = [name or record["taxon"] or "no species" for name, record in pairs]
    if set(labels) == {"no species"}:
        return Map()
    rows, points = project(subject.gallery.images.numpy())
    return Map(points, [labels[row] for row in rows])


def about(subject: Subject, recipe: Recipe) -> About:
    """Limits, intended use, the recipe and versions."""
    state = subject.model.state
    versions = {name: version(name) for name in LIBRARIES} | {
        "Python": platform.python_version(),
        "dataset digest": subject.dataset.digest,
        "fingerprint": recipe.fingerprint(subject.dataset.digest),
        "optimizer step": str(state["step"]),
    }
    return About(INTENDED, [*LIMITS, *_limits(subject)], dump_yaml(recipe), versions)


INTENDED = (
    "Finding and sorting images of surveys like these, with a person looking at what matters.",
    "Comparing training runs on the same dataset version.",
)
APART = {
    "place": "Test places are places that no training image comes from; seen places would look better.",
    "time": "Test images were taken after the training images, at the same places too; new places would look worse.",
    "published": "The split is the set's own: test places may be ones that training images come from.",
}
"""What keeps test and training apart, by the policy of the split."""
LIMITS = (
    "Labels come from the archive; a wrong label counts against the model.",
    "A figure for few images says little: look at its interval.",
)


def _limits(subject: Subject) -> list[str]:
    """What holds for this dataset."""
    if not subject.gallery.claiming:
        return ["No places are known: intervals resample images."]
    unseen = set(subject.species) - {None, *subject.train_shown}
    asked = f"{len(unseen)} species of the test images occur in no training image and stand apart, as new ones."
    return [APART[subject.dataset.document["split"]["policy"]], *([asked] if unseen else [])]
