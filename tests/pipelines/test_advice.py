"""What `xmodal show` says of momentum and queue before compute is spent."""

import math

import pytest

from pipelines.advice import simpson, told
from pipelines.recipe import Recipe, load_recipe
from tests.pipelines.road import xmodal


def recipe(*overrides: str) -> Recipe:
    return load_recipe(["demo", "model.momentum.coefficient=0.99", "model.queue.size=1024", *overrides])


def warnings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("WARNING: ")]


def test_simpson_is_the_sum_of_squared_shares() -> None:
    taxa = ["fox"] * 6 + ["deer"] * 3 + [None]
    assert simpson(taxa) == pytest.approx(0.6**2 + 0.3**2)
    assert simpson(taxa, power=0) == pytest.approx(2 / 9)
    assert simpson([None]) == simpson([]) == 0


def test_a_run_that_is_long_enough_is_told_and_not_warned_of() -> None:
    lines = told(recipe(), steps=1000, rows=5000, share=0.04)
    assert not warnings(lines)
    assert "queue of 1024 keys: 32 steps old at most, staleness 0.28 (0 none, 1 all)" in lines
    half = math.log(0.5) / math.log(0.99)
    assert f"key encoder: half-life {half:.0f} of 1000 steps, (1 - m) * steps = 10.0" in lines
    assert f"false negatives: {0.04 * (1024 + 31):.1f} of 1055 candidates are of a query's species, on average" in lines


@pytest.mark.parametrize(
    ("overrides", "facts", "words"),
    [
        (["model.momentum.coefficient=0.999"], {"steps": 900}, "(1 - m) * steps = 0.9, below 5 the key encoder never"),
        (["model.momentum.coefficient=1"], {"steps": 900}, "take at most 0.9944"),
        (["model.momentum.coefficient=0.9"], {}, "the oldest keys are 97% out of date"),
        (
            ["model.queue.refresh={every: 9}"],
            {},
            "every 9: keys are at most 32 steps old, and rows of the current window",
        ),
        ([], {"rows": 800}, "model.queue.size 1024: the train split has 800 images"),
        (["model.tasks.itc.fn_policy=none"], {"share": 0.04}, "42.2 related candidates a query count as negatives"),
    ],
)
def test_each_mistake_is_one_line(overrides: list[str], facts: dict[str, float], words: str) -> None:
    (line,) = warnings(told(recipe(*overrides), **facts))  # pyright: ignore[reportArgumentType]
    assert words in line and "\n" not in line


def test_what_is_not_known_yet_is_not_said() -> None:
    assert len(told(recipe())) == 1
    assert len(told(recipe("model.tasks.itc=null", "model.tasks.cons={}"), share=0.5)) == 1


def test_show_prints_it(tmp_path) -> None:
    ended = xmodal(
        "show", "demo", f"compute.root={tmp_path}", "model.momentum.coefficient=0.9", "model.queue.size=1024"
    )
    assert ended.code == 0 and "# WARNING: model.queue.size 1024" in ended.out
