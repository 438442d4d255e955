"""What a training worker asks of whoever runs it: a device, its blocks, and where its reports go. Here by Ray Train."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointUploadMode

from pipelines.train.saves import Saves
from xmodal.model import CrossModalModel


class Surroundings(Protocol):
    """Ray Train's group of workers, or one process alone (pipelines/train/alone.py)."""

    def device(self) -> torch.device: ...

    def parallel(self, model: CrossModalModel) -> Any:
        """The model as a step calls it: gradients of all workers averaged."""
        ...

    def blocks(self, step: int) -> Iterator[pa.Table]:
        """This worker's blocks from optimizer step `step` on."""
        ...

    def report(self, metrics: dict[str, Any], saved: Path | None, name: str, saves: Saves) -> None:
        """The figures of a checkpoint, which rank 0 has written at `saved` and which goes into the directory `name`."""
        ...


class Group:
    """One of the processes that Ray Train has started."""

    def device(self) -> torch.device:
        return ray.train.torch.get_device()  # pyright: ignore[reportReturnType]  # one process has one

    def parallel(self, model: CrossModalModel) -> Any:
        return ray.train.torch.prepare_model(model, parallel_strategy_kwargs={"forward_sync_buffers": False})

    def blocks(self, step: int) -> Iterator[pa.Table]:
        """The controller built them when it started the group, for this step (pipelines/train/start.py)."""
        shard = ray.train.get_dataset_shard("train")
        options: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow", "prefetch_batches": 2}
        return iter(shard.iter_batches(**options))  # pyright: ignore[reportOptionalMemberAccess]

    def report(self, metrics: dict[str, Any], saved: Path | None, name: str, saves: Saves) -> None:
        """Sent while training goes on: the snapshot names it once it has arrived."""

        def sent(local: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
            saves.send(Path(local.path), name)
            storage: Any = ray.train.get_context().get_storage()
            return ray.train.Checkpoint(storage.build_checkpoint_path_from_name(name), storage.storage_filesystem)

        ray.train.report(
            metrics,
            checkpoint=saved and ray.train.Checkpoint.from_directory(str(saved)),
            checkpoint_dir_name=name,
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=sent,
        )
