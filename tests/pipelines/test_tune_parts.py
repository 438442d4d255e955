"""Parts of a sweep without Ray: room, claims on runs, what became of a trial, what mattered, the page, the recipe."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra.cluster import SPARE_CPUS, ClusterTooSmall
from infra.storage import open_store
from pipelines.recipe import ComputeSettings, Recipe, load_recipe
from pipelines.report import render
from pipelines.session import joins
from pipelines.train.alone import register
from pipelines.train.runs import SNAPSHOT, Run
from pipelines.tune import room
from pipelines.tune.axes import axes, importances
from pipelines.tune.best import best_recipe
from pipelines.tune.claims import Claims
from pipelines.tune.content import content
from pipelines.tune.outcome import Outcome, ranked, reason
from pipelines.tune.space import Space, applied
from pipelines.tune.sweep import Sweep
from pipelines.tune.table import WIDTH, table
from tests.pipelines.road import xmodal
from xmodal.settings import SettingsError, load, parse

RATE, POLICY = "train.optimizer.learning_rate", "model.tasks.itc.fn_policy"
SPACE = {
    "description": "Rate <b>or</b> policy?",
    "search": {"kind": "asha"},
    "settings": {
        RATE: {"kind": "log_uniform", "low": 1e-4, "high": 1e-2},
        POLICY: {"kind": "choice", "values": ["none", "mask"]},
        "model.tasks.lm.weight": {"kind": "uniform", "low": 0, "high": 1, "when": {POLICY: ["mask"]}},
    },
}


def outcomes(count: int = 12) -> list[Outcome]:
    """The rate decides, the rest does nothing; every third trial was stopped at step 10 of 30."""
    found = []
    for at in range(count):
        stopped, score = at % 3 == 2, 10.0 + at
        drawn: dict[str, Any] = {RATE: 1e-4 * 1.4**at, POLICY: ["none", "mask"][at % 2]}
        drawn |= {"model.tasks.lm.weight": (at * 7 % 12) / 12} if at % 2 else {}
        curve = [[step, score + step / 10 - 3] for step in ((10,) if stopped else (10, 20, 30))]
        state = "stopped" if stopped else "complete"
        best = curve[-1][1]
        found.append(
            Outcome(f"t-{at}", state, drawn, curve[-1][0], 30, best, f"run-{at}", curve, "", drawn, [[0, drawn]])
        )
    return found


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    recipe = load_recipe(["demo"])
    return Sweep("mine-demo-0", open_store(str(tmp_path)), parse(Space, SPACE), recipe.model_dump(mode="json"))


def compute(**settings: Any) -> ComputeSettings:
    return parse(ComputeSettings, settings)


def test_a_job_trains_on_the_cluster_that_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert joins(compute()) is None
    assert joins(compute(ray_address="ray://head:10001")) == "ray://head:10001"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert joins(compute()) == "auto", "so its trials at once are as many as that cluster holds"
    assert joins(compute(ray_address="ray://head:10001")) == "ray://head:10001"


@pytest.mark.parametrize(
    ("settings", "there", "trials"),
    [
        ({"workers": 1}, {"CPU": 4}, 4),
        ({"workers": 1, "cpus_per_worker": 3}, {"CPU": 8}, 2),
        ({"workers": 2}, {"CPU": 4}, 1),  # two workers and a reader, one CPU left for those who watch
        ({"workers": 2}, {"CPU": 16}, 5),
        ({"workers": [1, 3]}, {"CPU": 9}, 2),
        ({"workers": 2, "gpu": True}, {"CPU": 64, "GPU": 4}, 2),
    ],
)
def test_as_many_trials_at_once_as_can_all_end(settings: dict[str, Any], there: dict[str, float], trials: int) -> None:
    asked = compute(**settings)
    assert room.at_once(asked, None, there) == trials
    assert trials * room.held(asked) + room.spare(asked) <= there["CPU"]
    with pytest.raises(ClusterTooSmall, match=f"hold {trials} at once"):
        room.at_once(asked, trials + 1, there)


def test_on_this_machine_ray_is_given_what_the_trials_hold() -> None:
    for workers, at_once in ((1, 3), (2, 2), (3, 1)):
        asked = compute(workers=workers)
        trials, cpus = room.here(asked, at_once)
        assert trials == at_once and room.at_once(asked, trials, {"CPU": cpus + SPARE_CPUS - 1}) == at_once


def test_an_idle_autoscaled_cluster_is_asked_about() -> None:
    asked = compute(workers=2, autoscaled=True, ray_address="ray-head:6379")
    with pytest.raises(SettingsError, match=r"--at-once: needed with compute\.autoscaled=true"):
        room.at_once(asked, None, {"CPU": 1})
    assert room.at_once(asked, 8, {"CPU": 1}) == 8


def test_a_trial_that_watches_a_group_holds_next_to_nothing() -> None:
    assert room.resources(compute(workers=2)) == {"CPU": 0.1}
    assert room.resources(compute(workers=1, cpus_per_worker=2, gpu=True)) == {"CPU": 2, "GPU": 1}


def test_a_run_has_one_trial_at_a_time() -> None:
    claims = Claims.__ray_metadata__.modified_class(2)  # pyright: ignore[reportAttributeAccessIssue]
    assert claims.take("run", "a") and claims.take("run", "a") and not claims.take("run", "b")
    claims.release("b")
    assert not claims.take("run", "b")
    claims.release("a")
    assert claims.take("run", "b")


def test_a_process_alone_keeps_the_best_checkpoints_and_the_last_as_ray_train_does(tmp_path: Path) -> None:
    run = Run(open_store(str(tmp_path)), "one")
    for step, score in ((1, 5.0), (2, 9.0), (3, 7.0), (4, 6.0)):
        run.store.put(f"{run.prefix}/checkpoint-{step}/state.json", b"{}")
        register(run, f"checkpoint-{step}", {"step": step, "score": score}, 2)
    assert [one.step for one in run.saved()] == [4, 3, 2] and run.best()[0].step == 2
    assert {one.key.split("/")[2] for one in run.store.list(run.prefix)} == {
        SNAPSHOT, "checkpoint-2", "checkpoint-3", "checkpoint-4"
    }  # fmt: skip


def test_complete_trials_stand_before_those_that_were_stopped() -> None:
    some = outcomes(3)
    flattered = replace(some[2], best=99.0)
    assert [one.trial for one in ranked([some[0], flattered, some[1]])] == ["t-1", "t-0", "t-2"]


def test_what_decides_is_told_beside_chance_and_from_scores_of_one_step() -> None:
    space = parse(Space, SPACE)
    step, found = importances(space.settings, outcomes())
    assert step == 10 and found[0].path == RATE
    rate, *others = found
    assert rate.share == pytest.approx(1) and rate.where == "rise with it" and rate.chance == pytest.approx(1 / 11)
    assert all(one.low < one.chance + 0.05 and one.share < 0.3 for one in others)
    assert importances(space.settings, outcomes(4))[1] == []


def test_axes_hold_every_trial_and_break_where_a_setting_was_not_searched() -> None:
    found = axes(parse(Space, SPACE).settings, outcomes())
    heights = [[axis.height(one) for axis in found] for one in outcomes()]
    assert all(height is None or 0 <= height <= 1 for row in heights for height in row)
    assert [row[2] is None for row in heights] == [at % 2 == 0 for at in range(12)]
    assert heights[0][0] == pytest.approx(0) and heights[0][-1] == pytest.approx(0)


def test_the_page_escapes_loads_nothing_and_has_a_table_for_every_chart(sweep: Sweep) -> None:
    page = render(content(sweep, load_recipe(["demo"]), outcomes(), 7200.0, 10))
    assert "Rate <b>or</b> policy?" not in page and "Rate &lt;b&gt;or&lt;/b&gt; policy?" in page
    assert "default-src 'none'" in page and "http" not in page.replace("http-equiv", "").replace("http://www.w3", "")
    assert page.count("<table") >= 2 + 12 and page.count("<img") == page.count('alt="') == 2
    assert all(f">{one.trial}<" in page for one in outcomes()) and "2.00" in page
    assert page == render(content(sweep, load_recipe(["demo"]), outcomes(), 7200.0, 10))


def test_the_best_recipe_is_the_trials(sweep: Sweep, tmp_path: Path) -> None:
    recipe, best = load_recipe(["demo"]), ranked(outcomes())[0]
    (tmp_path / "best.yaml").write_text(best_recipe(sweep, recipe, best))
    read = load(Recipe, [str(tmp_path / "best.yaml")])
    assert read == applied(sweep.space, recipe, best.drawn) and read.fingerprint("d") != recipe.fingerprint("d")
    moved = replace(best, schedule=[[0, {RATE: 1e-3}], [20, best.drawn]])
    assert "# from step 20: " in best_recipe(sweep, recipe, moved)


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["momentun", "demo"], 2, "momentun: no such search space; did you mean momentum?"),
        (["momentum", "demmo"], 2, "demmo: no such recipe file; did you mean demo?"),
        (["momentum", "demo"], 10, "demo"),
    ],
)
def test_a_sweep_that_cannot_begin_is_one_line(tmp_path: Path, words: list[str], code: int, line: str) -> None:
    ended = xmodal("tune", *words, f"compute.root={tmp_path}")
    assert ended.code == code and line in ended.line
    assert not list(tmp_path.iterdir())


def test_the_table_shows_the_best_trials_and_those_that_run() -> None:
    console = Console(width=150, file=io.StringIO(), color_system=None)
    running = replace(outcomes(13)[12], state="running", best=1.0)
    console.print(table("mine", [*outcomes(), running], 1.5))
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    names = [one.trial for one in ranked([*outcomes(), running])]
    assert [name for name in names if f" {name} " in shown] == [*names[:WIDTH], "t-12"]
    assert "12/13 trials  1 running  best 20.00  1.50 device-hours" in shown and "optimizer.learning_rate" in shown


def test_a_crash_is_told_by_the_line_that_names_it() -> None:
    died = "ray.exceptions.OutOfMemoryError: 1 worker(s) were killed due to the node running low on memory."
    assert reason(f"Traceback:\n  File x\n{died}\n- bytes unsealed: 0\nRefer to the documentation") == died
    assert reason("") == "its process died"
