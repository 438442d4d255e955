"""Lanes through Ray Data: each work item becomes one block, blocks reach worker j % S in strict round robin.

Ray hands this module to processes that only plan and pass blocks on, so it imports neither torch nor what reads.
"""

import pickle
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from pipelines.train.lanes import LaneSource


class BlockReader:
    """Ray Data map: one work item in, one block of rows out."""

    def __init__(self, source: bytes):
        """source: a pickled LaneSource, which is opened in the process that reads and in no other."""
        self.lane = pickle.loads(source).open()

    def __call__(self, items: dict[str, np.ndarray]) -> pa.Table:
        return self.lane(items)


def lane_dataset(source: "LaneSource", epochs: int, start: Callable[[], int], readers: int) -> Callable[[], Any]:
    """What Ray Train calls at every start of its worker group: a dataset of the work items from `start()` on.

    `start` returns the optimizer step of the run's last good checkpoint, so a restarted group reads on from there.
    """

    def build() -> Any:
        import ray

        from pipelines.train.pace import Pace

        items = [asdict(item) for item in source.order.plan(epochs, source.chunk(epochs), start())]
        if not items:  # a group restarted behind its last step has nothing to read
            return ray.data.from_arrow(pa.table({"step": pa.array([], pa.int64())}))
        blocks = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            BlockReader,  # type: ignore[arg-type]
            fn_constructor_args=(pickle.dumps(source),),
            batch_size=None,
            batch_format="numpy",
            concurrency=(1, readers),
            num_cpus=1,
        )
        blocks.context.custom_execution_callback_classes.append(Pace)
        return blocks

    return build
