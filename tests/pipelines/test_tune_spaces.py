"""Search spaces: every corner of each that comes with xmodal is a recipe the momentum advisor has nothing against."""

import math
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest

from pipelines.recipe import Recipe, load_recipe
from pipelines.tune.domains import Choice
from pipelines.tune.patience import advised, arrival, grace
from pipelines.tune.space import Space, applied, corners, drawn, load_space, mutated
from tests.conftest import REPOSITORY
from xmodal.momentum import MomentumSettings
from xmodal.settings import SettingsError, parse, read_yaml

MEANT_FOR = {
    "momentum": ["demo"],
    "queue": ["demo"],
    "temperature": ["demo"],
    "tasks": ["demo", "model.tasks.itm={}"],
    "schedule": ["demo", "model.tasks.itm={}"],
    "constraints": ["scan-f30k", "ccr-ccs"],
}
"""Recipes with what each space searches."""
STEPS, ROWS = 4000, 20_000
"""Of a run long enough for all of them."""


def space(settings: dict[str, Any], **search: Any) -> Space:
    return parse(Space, {"search": {"kind": "asha", **search}, "settings": settings})


def test_every_space_is_meant_for_a_recipe() -> None:
    assert {one.stem for one in (REPOSITORY / "tune_spaces").glob("*.yaml")} == MEANT_FOR.keys()


@pytest.mark.parametrize("name", MEANT_FOR)
def test_every_corner_is_a_recipe_and_the_advisor_has_nothing_against_it(name: str) -> None:
    label, found = load_space(name)
    recipe = load_recipe(MEANT_FOR[name])
    recipes = [applied(found, recipe, one) for one in corners(found)]
    assert label == name and len({one.fingerprint() for one in recipes}) == len(recipes) >= 4
    assert advised(found, recipe, STEPS, ROWS, None) == []
    assert grace(found, recipe, STEPS) == max(arrival(one.model.momentum, STEPS) for one in recipes) < STEPS


@pytest.mark.parametrize("name", MEANT_FOR)
def test_what_is_drawn_and_mutated_stays_within_the_corners(name: str) -> None:
    _, found = load_space(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    random = Random(0)
    for _ in range(50):
        trial, suggested = study.ask(), {}
        suggested = drawn(found, lambda path, domain, trial=trial: domain.draw(trial, path))
        for _ in range(20):
            for path, value in suggested.items():
                ends = found.settings[path].corners()
                assert value in ends if isinstance(found.settings[path], Choice) else min(ends) <= value <= max(ends)
            suggested = mutated(found, suggested, random)


def test_the_documented_example_is_a_space(tmp_path: Path) -> None:
    """In the words of `tune_spaces`, conditions included."""
    text = (REPOSITORY / "tune_spaces/__init__.py").read_text().split('"""')[1]
    example = "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    "))
    (tmp_path / "example.yaml").write_text(example)
    _, found = load_space(str(tmp_path / "example.yaml"))
    some = list(corners(found))
    assert {len(one) for one in some} == {6, 7} and len(some) == 2**5 * 3
    recipe = applied(found, load_recipe(["demo"]), some[-1])
    assert recipe.model.tasks.cons is not None and recipe.model.tasks.cons.weight == 1


def test_a_queue_by_age_and_a_momentum_by_staleness_come_to_what_they_say() -> None:
    """MoCo's own: K / B = 256 steps at m = 0.999."""
    settings = {
        "train.global_batch": {"kind": "choice", "values": [32, 64]},
        "model.queue.size": {"kind": "age", "low": 4, "high": 256},
        "model.momentum.coefficient": {"kind": "staleness", "low": 0.1, "high": 0.7},
    }
    stale = 1 - 0.999**256
    found = {"train.global_batch": 64, "model.queue.size": 256, "model.momentum.coefficient": stale}
    recipe = applied(space(settings), load_recipe(["demo"]), found)
    assert recipe.model.queue.size == 256 * 64
    assert recipe.model.momentum.coefficient == pytest.approx(0.999, abs=1e-12)


def test_a_mutation_stops_at_the_bounds() -> None:
    found = space({"model.momentum.coefficient": {"kind": "one_minus", "low": 0.9, "high": 0.99}})
    value, random, seen = {"model.momentum.coefficient": 0.1}, Random(1), set()
    for _ in range(200):
        value = mutated(found, value, random)
        seen.add(value["model.momentum.coefficient"])
    assert max(seen) == 0.1 and min(seen) == 0.01


@pytest.mark.parametrize(
    ("momentum", "steps"),
    [
        ({"coefficient": 0.99}, 500),
        ({"coefficient": 0.999}, 2000),
        ({"coefficient": 0}, 5),
        ({"coefficient": 1}, 2000),
        ({"coefficient": 0.99, "cosine": 100}, 2000),
    ],
)
def test_a_key_encoder_arrives_after_five_over_one_minus_m_or_never(momentum: dict[str, Any], steps: int) -> None:
    assert arrival(parse(MomentumSettings, momentum), 2000) == steps


def test_one_that_slows_down_arrives_when_its_steps_sum_to_five() -> None:
    cosine = MomentumSettings(coefficient=0.9, cosine=100)
    step = arrival(cosine, 2000)
    followed = [0.1 * (1 + math.cos(math.pi * t / 100)) / 2 for t in range(100)]
    assert sum(followed[:step]) >= 5 > sum(followed[: step - 1])


def slow(**search: Any) -> tuple[Space, Recipe]:
    settings = {"model.momentum.coefficient": {"kind": "one_minus", "low": 0.9, "high": 0.99}}
    return space(settings, **search), load_recipe(["demo"])


def test_no_rung_comes_before_the_slowest_teacher_arrives() -> None:
    assert grace(*slow(), 5000) == 500 and grace(*slow(grace=900), 5000) == 900 and grace(*slow(), 300) == 300
    with pytest.raises(SettingsError, match="grace 499: the slowest key encoder of this space arrives after 500 steps"):
        grace(*slow(grace=499), 5000)


def test_the_advisor_is_heard_once_a_mistake() -> None:
    found, recipe = slow()
    (line,) = advised(found, recipe, 300, ROWS, None)
    assert line.startswith("where model.momentum.coefficient=0.01 is drawn: ")
    assert "below 5 the key encoder never" in line


def written(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.yaml").write_text(text)
    return str(tmp_path / "mine.yaml")


ONE = "search: {kind: asha}\nsettings:\n  "


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("search: {kind: asha}\nsettings: {}", "names no setting to search"),
        ("search: {kind: ashes}\nsettings: {}", "'ashes' is no known kind; allowed: asha, pbt; did you mean asha?"),
        (ONE + "train.epochs: {kind: integer, low: 9, high: 3}", "low must be below high, not 9 and 3"),
        (ONE + "train.seed: {kind: log_uniform, low: 0, high: 3}", "low must be below high and above 0, not 0 and 3"),
        (ONE + "train.seed: {kind: integr, low: 0, high: 3}", "did you mean integer?"),
        (ONE + "a.b: {kind: uniform, low: 0, high: 1, when: {c: [1]}}", "a.b.when: c is not drawn before it"),
        (ONE + "c: {kind: choice, values: [1, 2]}\n  a.b: {kind: uniform, low: 0, high: 1, when: {c: [3]}}", "not [3]"),
        ("search: {kind: pbt}\nsettings:\n  model.queue.size: {kind: age, low: 2, high: 4}", "cannot change while"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_space(written(tmp_path, text))
    assert line in str(refused.value) and "\n" not in str(refused.value) and "mine.yaml: " in str(refused.value)


def test_a_space_that_is_not_there_names_its_neighbour() -> None:
    with pytest.raises(SettingsError, match="momentun: no such search space; did you mean momentum"):
        load_space("momentun")


def test_a_task_that_the_recipe_has_not_is_not_made_by_its_weight() -> None:
    _, found = load_space("tasks")
    with pytest.raises(SettingsError, match=r"model\.tasks\.itm\.weight: the recipe has no model\.tasks\.itm"):
        grace(found, load_recipe(["demo"]), STEPS)


def test_a_corner_that_is_no_recipe_is_named() -> None:
    found = space({"train.global_batch": {"kind": "choice", "values": [32, 33]}})
    with pytest.raises(SettingsError, match=r"must be a multiple of lanes 2 .*in a trial with train\.global_batch 33"):
        advised(found, load_recipe(["demo"]), STEPS, ROWS, None)


def test_spaces_are_read_as_yaml_alone() -> None:
    """What is in the folder is data: a file in it is never run."""
    assert [one.name for one in (REPOSITORY / "tune_spaces").glob("*.py")] == ["__init__.py"]
    assert all(read_yaml(one) for one in (REPOSITORY / "tune_spaces").glob("*.yaml"))
