"""A training run in one process of its own, without Ray Train: the same loop, and the same run left in the store.

Of a small model whose trials are many, starting Ray Train's processes would cost more than training does. What stands
below `ROOT/runs/NAME` is what Ray Train would have left, so `xmodal train` of the same recipe goes on from it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import torch

from pipelines.train.lanes import ReadLane
from pipelines.train.plan import TrainingPlan
from pipelines.train.runs import SNAPSHOT, Run
from pipelines.train.saves import Saves
from xmodal.model import CrossModalModel


class Alone:
    """The only worker of `run`, on "cpu" or "cuda". `told` hears of each checkpoint, its metrics and its directory,
    once the store has it; the best `kept` stay, and the last."""

    def __init__(
        self, run: Run, plan: TrainingPlan, device: str, kept: int, told: Callable[[dict[str, Any], str], None]
    ):
        self.run, self.plan, self.kept, self.told = run, plan, kept, told
        self._device = torch.device(device)

    def device(self) -> torch.device:
        return self._device

    def parallel(self, model: CrossModalModel) -> Any:
        return model

    def blocks(self, step: int) -> Iterator[pa.Table]:
        """Read one ahead of training, in a thread."""
        source, threads = self.plan.lanes(), torch.get_num_threads()
        lane, items = ReadLane(source), self.plan.order.plan(self.plan.epochs, source.chunk(self.plan.epochs), step)
        torch.set_num_threads(threads)  # a reader takes one, being a process of its own elsewhere
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(lane.block, item) for item in [next(items, None)] if item is not None]
            while coming:
                block = coming.pop().result()
                coming = [reader.submit(lane.block, item) for item in [next(items, None)] if item is not None]
                yield block

    def report(self, metrics: dict[str, Any], saved: Path | None, name: str, saves: Saves) -> None:
        assert saved is not None, "a process alone writes its own checkpoints"
        saves.send(saved, name)
        register(self.run, name, metrics, self.kept)
        self.told(metrics, name)


def register(run: Run, name: str, metrics: dict[str, Any], kept: int) -> None:
    """Adds the checkpoint `name` to the run's snapshot, in the form of Ray Train's; then what falls out is deleted."""
    before = run.read(SNAPSHOT) or {
        "checkpoint_results": [],
        "checkpoint_report_indices": [],
        "current_report_index": 0,
    }
    index, latest = before["current_report_index"], {"version": 0, "checkpoint_dir_name": name, "metrics": metrics}
    results = [*zip(before["checkpoint_results"], before["checkpoint_report_indices"], strict=True), (latest, index)]
    results.sort(key=lambda one: (one[0]["metrics"]["score"], one[1]))  # the worst first
    worst = [one for one, _ in results[:-kept] if one is not latest]
    staying = [pair for pair in results if pair[0] not in worst]
    run.write(SNAPSHOT, _snapshot(staying, latest, index + 1))
    for one in worst:
        run.store.delete_folder(f"{run.prefix}/{one['checkpoint_dir_name']}")


def _snapshot(results: list[tuple[dict[str, Any], int]], latest: dict[str, Any], following: int) -> dict[str, Any]:
    nothing = ("pending_training_results", "pending_validation_specs", "validated_checkpoint_dir_names")
    unused = (*nothing, "timed_out_validation_checkpoint_dir_names", "failed_validation_checkpoint_dir_names")
    return {
        "ray_version": ray.__version__,
        "checkpoint_results": [one for one, _ in results],
        "checkpoint_report_indices": [index for _, index in results],
        "latest_checkpoint_result": latest,
        "current_report_index": following,
    } | {name: [] for name in unused}
