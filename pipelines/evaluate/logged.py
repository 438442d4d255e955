"""What an evaluation adds to the MLflow run that trained the model, and to the model's version in the registry."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.registry import Registry
from infra.tracking import Tracker
from pipelines.card import README
from pipelines.recipe import Recipe
from pipelines.tracked import tracking_uri
from xmodal.metrics.figure import Figure


def log_evaluation(
    recipe: Recipe,
    mlflow_run: str | None,
    step: int,
    figures: Sequence[Figure],
    report: Path,
    card: Mapping[str, bytes],
) -> None:
    """Adds the figures, the report and the files of the card to the MLflow run that trained the model; without one
    nothing is logged."""
    uri = tracking_uri(recipe)
    if uri is None or not mlflow_run:
        return
    tracker = Tracker.start(uri, recipe.tracking.experiment, "", params={}, tags={}, run_id=mlflow_run)
    tracker.log(step, _finite({figure.name: figure.value for figure in figures}))
    tracker.artifact(report, "report")
    describe(recipe, uri, mlflow_run, figures, card)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in card.items():
            (Path(folder) / name).write_bytes(data)
            tracker.artifact(Path(folder) / name, "card")
    tracker.finish()


def describe(recipe: Recipe, uri: str, mlflow_run: str, figures: Sequence[Figure], card: Mapping[str, bytes]) -> None:
    """Puts the card and the figures with their intervals on the version that the run has in the registry, if any."""
    if recipe.tracking.register_as is None:
        return
    registry = Registry(uri, recipe.tracking.register_as)
    if (version := registry.of_run(mlflow_run)) is not None:
        registry.describe(version, card[README].decode(), dict(_tags(figures)))


def _tags(figures: Sequence[Figure]) -> Iterator[tuple[str, str]]:
    """Figure by figure its value, and the interval where it has one. The names are of letters that MLflow takes."""
    for one in figures:
        if math.isfinite(one.value):
            between = "" if one.low is None else f" ({one.low:.4g} to {one.high:.4g})"
            yield one.name, f"{one.value:.4g}{between}{one.unit and f' {one.unit}'}"


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
