"""The untrained baseline is the model that a run of the recipe begins with, and the same each time."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pipelines.evaluate.flow import examined, report_content
from pipelines.evaluate.retrieval import headline
from pipelines.evaluate.subject import Subject
from pipelines.gallery import embed, gallery
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan, build_model, starting_model
from tests.pipelines.precomp_folder import write_precomp
from tests.pipelines.road import untrained_run
from tests.pipelines.test_precomp_road import made
from xmodal.metrics.figure import Figure
from xmodal.model import CrossModalModel

SIZES = {"train": 30, "dev": 8, "test": 20}
POOLED: dict[str, Any] = {
    "image_enhance": [],
    "head": {"kind": "linear"},
    "text_head": None,
    "pooling": {"kind": "mean"},
}
"""Heads that standardise what a frozen encoder gives."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Recipe]:
    folder = tmp_path_factory.mktemp("untrained")
    write_precomp(folder / "archive", SIZES)
    model = POOLED | {"tasks": {"uto": None, "itc": {}}}
    recipe, _ = made(folder / "archive", folder / "root", model=model, train={"seed": 11})
    return examined(recipe.compute.store(), untrained_run(recipe).name, ())


def begun(subject: Subject, recipe: Recipe) -> CrossModalModel:
    """As a training worker begins: seed, build, statistics of the data."""
    torch.manual_seed(recipe.train.seed)
    model = build_model(recipe, subject.dataset)
    TrainingPlan.of(recipe, subject.dataset).initialise(model)
    return model


def untrained(subject: Subject, recipe: Recipe) -> Figure:
    figures = [one for group in report_content(subject, recipe).measures.groups for one in group.figures]
    (found,) = [one for one in figures if one.name.startswith("untrained/")]
    return found


def test_it_is_the_model_before_the_first_step(asked: tuple[Subject, Recipe]) -> None:
    subject, recipe = asked
    wanted = begun(subject, recipe)
    assert wanted.standardised and all(norm.mean.abs().sum() > 0 for norm in wanted.standardised)
    torch.manual_seed(5)
    found = starting_model(recipe, subject.dataset, subject.rows.reader)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3)), "draws of the caller go on as if nothing had been built"
    weights = wanted.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in found.state_dict().items())


def test_the_figure_is_that_models_and_does_not_change_between_calls(asked: tuple[Subject, Recipe]) -> None:
    subject, recipe = asked
    torch.manual_seed(1)
    first = untrained(subject, recipe)
    torch.manual_seed(2)
    assert untrained(subject, recipe) == first
    embedded = embed(begun(subject, recipe).eval(), subject.rows, "cpu")
    found = gallery(embedded, subject.rows.reader.attributes)
    wanted = headline("test", found, subject.groups, subject.text_groups, "untrained/")
    assert (
        first == replace(wanted, label=f"Untrained model: {wanted.title}")
        and first.chance is not None
        and first.interval is not None
    )
