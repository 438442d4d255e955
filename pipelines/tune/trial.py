"""One trial, in a process of Ray Tune: the recipe with what was drawn, trained by the loop of `xmodal train`."""

import threading
import time
from typing import Any

import ray
from ray import tune
from ray.train import ControllerError, WorkerGroupError

from infra.cluster import variables
from pipelines.errors import Failed
from pipelines.recipe import Recipe
from pipelines.session import timeouts
from pipelines.tracked import tracked
from pipelines.train.alone import Alone
from pipelines.train.board import ProgressBoard
from pipelines.train.failures import explained
from pipelines.train.flow import trainer
from pipelines.train.loop import Job, train_on
from pipelines.train.out_of_memory import memory_told
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import Run, newest
from pipelines.train.runs import sweep as cleared
from pipelines.tune.origin import ORIGINS, report, schedule
from pipelines.tune.room import alone
from pipelines.tune.space import resolved
from pipelines.tune.sweep import Sweep, Told
from xmodal import checkpoint

LOOK_SECONDS = 1.0
"""Between looks whether a group of workers has a new checkpoint."""
FAILED = -1.0
"""Score of a trial whose loss was no number, or that ran out of memory: below every other."""


def trial(config: dict[str, Any], sweep: Sweep, claims: Any) -> None:
    """What Tune calls, also to go on with a trial. Reports step, score and curve at each checkpoint, first those that
    its run has already: a run that is complete is not trained again."""
    recipe = sweep.trial(config["drawn"])
    plan = sweep.plan(recipe)
    run = ORIGINS[sweep.space.search.kind](sweep, recipe, plan, config)
    while not ray.get(claims.take.remote(run.name, tune.get_context().get_trial_id())):
        time.sleep(LOOK_SECONDS)
    curve, values = known(run), resolved(recipe, config["drawn"])
    own = {"steps": plan.total_steps, "run": run.name, "values": values, "schedule": schedule(run, config["drawn"])}

    def told(metrics: dict[str, Any], directory: str) -> None:
        if not curve or curve[-1][0] < metrics["step"]:
            curve.append([metrics["step"], metrics["score"]])
        report(run, directory, config, own | figures(curve))

    for saved in run.saved()[:1]:
        told(saved.metrics, saved.directory)
    if not curve or curve[-1][0] < plan.total_steps:
        try:
            (train_alone if alone(recipe.compute) else train_group)(sweep, recipe, plan, run, told)
        except Failed as error:
            tune.report(own | figures(curve) | {"score": FAILED, "failed": str(error)})


def figures(curve: list[list[float]]) -> dict[str, Any]:
    """What Tune and the report know of a trial's training. `curve`: [step, score] of each validation."""
    step, score = curve[-1] if curve else (0, FAILED)
    return {"step": step, "score": score, "best": max((one for _, one in curve), default=FAILED), "curve": list(curve)}


def known(run: Run) -> list[list[float]]:
    """The validations of a run so far."""
    with newest(run) as found:
        points = checkpoint.read_state(found[1])["history"] if found else []
    return [[point["step"], point["val/score"]] for point in points if "val/score" in point]


def train_alone(sweep: Sweep, recipe: Recipe, plan: TrainingPlan, run: Run, told: Told) -> None:
    """In this process. Raises Failed."""
    board: Any = ProgressBoard.remote()
    cleared(run)
    with tracked(recipe, run, plan, sweep.parent) as tracking, memory_told():
        job = Job(recipe.model_dump(mode="json"), plan, run, tracking.worker(), board)
        train_on(job, Alone(run, plan, "cuda" if recipe.compute.gpu else "cpu", recipe.compute.checkpoints_kept, told))
        _check(board)


def train_group(sweep: Sweep, recipe: Recipe, plan: TrainingPlan, run: Run, told: Told) -> None:
    """By workers of Ray Train, which this process starts and watches. A checkpoint is told of once the snapshot names
    it: then it has arrived. Raises Failed."""
    board: Any = ProgressBoard.remote()
    cleared(run)
    with tracked(recipe, run, plan, sweep.parent) as tracking, variables(timeouts(recipe.compute)):
        job = Job(recipe.model_dump(mode="json"), plan, run, tracking.worker(), board)
        errors = list[BaseException]()
        group = trainer(recipe, plan, run, job)
        thread = threading.Thread(target=_finish, args=(group, errors), daemon=True)
        thread.start()
        step, ended = max((saved.step for saved in run.saved()), default=0), False
        while not ended:
            ended = not thread.is_alive()
            for saved in sorted(run.saved(), key=lambda one: one.step):
                if saved.step > step:
                    step = saved.step
                    told(saved.metrics, saved.directory)
            thread.join(LOOK_SECONDS)
        for error in errors:
            raise explained(error) if isinstance(error, WorkerGroupError | ControllerError) else error
        _check(board)


def _finish(group: Any, errors: list[BaseException]) -> None:
    try:
        group.fit()
    except BaseException as error:
        errors.append(error)


def _check(board: Any) -> None:
    """Raises Failed where a worker has said why the run had to stop."""
    if (reason := ray.get(board.stopped.remote())) is not None:
        raise Failed(reason)
