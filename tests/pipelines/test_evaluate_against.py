"""`xmodal evaluate RUN --against OTHER`: how far it is ahead, and what the gate would decide, in report and figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.dataset import Dataset
from pipelines.evaluate.against import answers, old_places
from pipelines.evaluate.flow import examined, rated
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan
from tests.pipelines.road import document, prepared, run_of, stepped, untrained_run, xmodal
from xmodal.settings import parse

NEW, OLD = "new-0000-0", "old-0000-0"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A trained model, and one that is not, on the tiny survey."""
    folder = str(tmp_path_factory.mktemp("against"))
    prepared(folder)
    longer = {"epochs": 20, "optimizer": {"learning_rate": 3e-3}}
    made = parse(
        Recipe, document(f"{folder}/archive", folder, train=longer, model={"tasks": {"itm": None, "lm": None}})
    )
    torch.manual_seed(0)
    untrained_run(made, OLD)
    plan = TrainingPlan.of(made, Dataset.open(made.compute.store(), "tiny"))
    model, *_ = stepped(made, plan, plan.total_steps)
    run_of(made, model, NEW)
    return made


def evaluated(recipe: Recipe, folder: Path, run: str, other: str) -> tuple[dict[str, dict], str]:
    words = ("evaluate", run, "--root", recipe.compute.root or "", "--report", folder / "report.html", "--json")
    ended = xmodal(*words, "--against", other)
    assert ended.code == 0, ended.err
    return {one["name"]: one for one in json.loads(ended.out)}, (folder / "report.html").read_text()


def test_the_lead_is_the_difference_of_what_both_get_right(recipe: Recipe, tmp_path: Path) -> None:
    found, page = evaluated(recipe, tmp_path, NEW, OLD)
    other, _ = evaluated(recipe, tmp_path, OLD, NEW)
    lead = found["test/against/ahead"]
    assert lead["unit"] == "points" and lead["value"] > 0 and lead["note"] == OLD
    assert lead["value"] == pytest.approx(found["test/species/micro"]["value"] - other["test/species/micro"]["value"])
    assert other["test/against/ahead"]["value"] == pytest.approx(-lead["value"])
    assert f"Beside {OLD}" in page and "By the gate" in page and "old species" in page


def test_a_model_does_not_take_its_own_place(recipe: Recipe, tmp_path: Path) -> None:
    found, page = evaluated(recipe, tmp_path, NEW, NEW)
    assert (
        found["test/against/ahead"]["value"] == 0 and "By the gate the other model stays: overall does NOT hold" in page
    )


def test_images_of_species_that_one_model_never_learnt_are_wrong_for_it(recipe: Recipe) -> None:
    subject, _ = examined(recipe.compute.store(), NEW, ())
    other = rated(recipe.compute.store(), OLD, subject)
    asked = [n for n, species in enumerate(subject.species) if species in subject.model.state["taxa"]]
    lost = subject.species[asked[0]]
    other.model.state["taxa"].pop(lost)
    found = answers(other, asked)
    assert not found.right[np.array(found.species) == lost].any() and len(found.confidence) == len(asked)
    assert ((found.confidence > 0) & (found.confidence <= 1)).all()
    assert old_places(subject, other) == frozenset(subject.groups), "both were trained on one version"
    other.model.state["dataset_version"] = 99
    assert old_places(subject, other) == frozenset(subject.groups), "where that is gone, all count as old"


def test_the_decision_is_printed(recipe: Recipe, tmp_path: Path) -> None:
    words = (
        "evaluate",
        NEW,
        "--root",
        recipe.compute.root or "",
        "--report",
        tmp_path / "report.html",
        "--against",
        NEW,
    )
    told = [line for line in xmodal(*words).out.splitlines() if line.startswith("By the gate")]
    assert len(told) == 1 and told[0].startswith("By the gate the other model stays: overall does NOT hold (")


def test_one_that_does_not_exist_is_a_line(recipe: Recipe, tmp_path: Path) -> None:
    words = ("evaluate", NEW, "--root", recipe.compute.root or "", "--report", tmp_path / "report.html")
    ended = xmodal(*words, "--against", "never-0000-0")
    assert ended.code == 10 and not (tmp_path / "report.html").exists()
