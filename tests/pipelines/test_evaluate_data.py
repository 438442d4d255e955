"""What a report draws of a run's history."""

from pipelines.evaluate.data import CURVES, curves
from xmodal.tasks import Tasks


def test_every_task_has_a_panel() -> None:
    """A task that is added without one would train unseen."""
    drawn = {key for lines in CURVES.values() for key in lines.values()}
    assert {f"train/{task}" for task in Tasks.model_fields} - drawn == set()


def test_a_line_holds_the_steps_that_have_its_figure() -> None:
    history = [{"step": 1, "train/ccr": 0.5}, {"step": 2}, {"step": 3, "train/ccr": 0.25, "train/ccs": 1.0}]
    drawn = curves(history).curves["Losses of attention constraints"]
    assert drawn == {"CCR": [(1, 0.5), (3, 0.25)], "CCS": [(3, 1.0)], "entropy": []}
