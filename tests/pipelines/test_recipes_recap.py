"""ReCap's recipe over that of a survey, from the images to the claims: prepared, trained, evaluated."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from infra.storage import open_store
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe, load_recipe
from pipelines.train.plan import TrainingPlan
from tests.pipelines.road import document, run_of, stepped, xmodal
from tests.pipelines.surveys import write_survey

SMALL = {
    "queue": {"size": 32},
    "momentum": {"coefficient": 0.9},
    "tasks": {"itm": {"fusion": {"width": 32}}, "lm": {"decoder": {"width": 32}}},
}
"""What makes the recipe one of a tiny survey; its parts and weights stay."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("recap")
    write_survey(open_store(str(folder / "archive")))
    for name, content in (
        ("survey", document(str(folder / "archive"), str(folder / "root"))),
        ("small", {"model": SMALL, "train": {"epochs": 12}}),
    ):
        with (folder / f"{name}.yaml").open("w") as file:
            YAML().dump(content, file)
    return load_recipe([str(folder / "survey.yaml"), "recap", str(folder / "small.yaml")])


@pytest.mark.slow
def test_it_learns_with_every_part_and_tells_its_claims(recipe: Recipe, tmp_path: Path) -> None:
    tasks = recipe.model.tasks.present
    assert {"itc", "itm", "lm", "cons", "anchor"} <= tasks.keys() and tasks["lm"].bridge > 0
    assert recipe.model.queue.refresh and recipe.model.image_enhance and recipe.model.text_enhance
    dataset = flow.prepare(
        recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess()
    )
    plan = TrainingPlan.of(recipe, dataset)
    model, _, losses = stepped(recipe, plan, plan.total_steps)
    assert sum(losses[-5:]) < 0.93 * sum(losses[:5])
    run = run_of(recipe, model, "recap-0000-0")
    words = ("evaluate", run.name, "--root", recipe.compute.root or "", "--report", tmp_path / "report.html", "--json")
    ended = xmodal(*words)
    assert ended.code == 0, ended.err
    names = {row["name"].removeprefix("test/claims/")[:2] for row in json.loads(ended.out) if "/claims/" in row["name"]}
    assert names >= {f"c{number}" for number in range(1, 9)} - {"c5"}, "C5 asks for more species than this survey tests"
