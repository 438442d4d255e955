"""A run of `make chaos` that was cut goes on, and says what it did not try. Here its moments are empty tests, in a
pytest of their own."""

import json
from pathlib import Path

import pytest

from tests.chaos.conftest import PROGRESS, _kills, code, draw
from tests.chaos.moments import moments as moments_of_training

pytest_plugins = ["pytester"]

MOMENTS = """
from pathlib import Path
import pytest

@pytest.mark.chaos
def test_a_kill(kill):
    with open("tried", "a") as file:
        print(kill, file=file)
    assert not Path("broken").exists() or len(Path("tried").read_text().splitlines()) <= 2
"""
_WRITES = [("put", "/root/datasets/tiny/pixels/a"), ("put", "/root/work/tiny/pixels/a"), ("put", "/root/datasets/b")]
OPERATIONS = {"first": _WRITES, "next": _WRITES, "gc": [("delete", "/root/datasets/b")]}


@pytest.fixture
def moments(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with a test for every moment of OPERATIONS, which are known from an earlier run of the same code."""
    pytester.makeconftest("from tests.chaos.conftest import *")
    pytester.makepyfile(test_moments=MOMENTS)
    known = pytester.path / PROGRESS
    known.parent.mkdir()
    known.write_text(json.dumps({"code": code(), "operations": OPERATIONS}))
    return pytester


def run(moments: pytest.Pytester, *options: str) -> tuple[int, str, list[str]]:
    """Exit code, the summary's line, and the moments that were tried."""
    tried = Path("tried")
    tried.write_text("")
    ended = moments.runpytest_inprocess("-m", "chaos", "--kills", "4", *options)
    (told,) = [line for line in ended.outlines if line.startswith("chaos: ")]
    return int(ended.ret), told, tried.read_text().splitlines()


def test_what_passed_is_not_tried_again(moments: pytest.Pytester) -> None:
    Path("broken").touch()
    status, told, first = run(moments)
    assert (status, told, len(first)) == (1, "chaos: 2 of 4 moments survived (seed 0)", 4)
    Path("broken").unlink()
    status, told, second = run(moments)
    assert (status, told, second) == (0, "chaos: 4 of 4 moments survived (seed 0)", first[2:])
    assert not Path(PROGRESS).exists()


def test_another_draw_begins_anew(moments: pytest.Pytester) -> None:
    Path("broken").touch()
    run(moments)
    Path("broken").unlink()
    status, told, tried = run(moments, "--seed", "1")
    assert (status, told, len(tried)) == (0, "chaos: 4 of 4 moments survived (seed 1)", 4)


def test_time_that_is_over_is_told_and_too_few_fail(moments: pytest.Pytester) -> None:
    left = "chaos: 0 of 4 moments survived (seed 0); time is over, 4 are left: run it again to go on"
    assert run(moments, "--minutes", "0") == (0, left, [])
    few = f"{left}; fewer than the 1 that are asked for"
    assert run(moments, "--minutes", "0", "--least", "1") == (1, few, [])
    assert run(moments, "--least", "4")[0] == 0


def test_a_draw_begins_with_one_of_each_kind() -> None:
    kills = [*_kills(OPERATIONS), *moments_of_training()]
    kinds = {kill.kind for kill in kills}
    assert len(kinds) == 12
    for seed in range(20):
        drawn = draw(kills, seed)
        assert {kill.kind for kill in drawn[:12]} == kinds and set(drawn) == set(kills)
