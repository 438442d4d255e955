"""Where the work on items is done: Ray Data actors, or this process.

A worker is made once a process and called with task after task; it returns bytes. Ray may run a task twice, so a task's
writes must bear repetition.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any, Protocol, Self, cast

import pyarrow as pa
import ray.data
import torch

from infra.storage import StorageError
from xmodal.settings import SettingsError

Worker = Callable[[Any], bytes]
LIGHT_TASKS = 12
"""Light tasks, of a second or less, that other processes are started for: their start alone takes some seconds."""


class Workers(Protocol):
    """Runs tasks; results come as they are ready, in any order."""

    def run(
        self, make: Callable[..., Worker], arguments: tuple[Any, ...], tasks: Sequence[Any], light: bool = False
    ) -> Iterator[bytes]: ...


class InProcess:
    """One task after the other in this process: for few files quicker than any cluster starts."""

    def run(
        self, make: Callable[..., Worker], arguments: tuple[Any, ...], tasks: Sequence[Any], light: bool = False
    ) -> Iterator[bytes]:
        if tasks:
            worker = make(*arguments)
            yield from map(worker, tasks)


class RayWorkers:
    """Up to `most` Ray Data actors of one CPU. `cluster` is entered before the first tasks that gain from it: a single
    task, and fewer light ones than LIGHT_TASKS, are done here."""

    def __init__(self, most: int = 1, cluster: Callable[[], AbstractContextManager[Any]] = nullcontext) -> None:
        self._most = most
        self._cluster = cluster
        self._stack = ExitStack()
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(
        self, make: Callable[..., Worker], arguments: tuple[Any, ...], tasks: Sequence[Any], light: bool = False
    ) -> Iterator[bytes]:
        if len(tasks) < (LIGHT_TASKS if light else 2):
            yield from InProcess().run(make, arguments, tasks)
            return
        if not self._started:
            self._stack.enter_context(self._cluster())
            self._started = True
        count = max(1, min(self._most, len(tasks)))
        one_by_one = (pa.table({"task": [pickle.dumps(task)]}) for task in tasks)
        blocks: list[Any] = [ray.put(block) for block in one_by_one]
        done = ray.data.from_arrow_refs(blocks).map_batches(
            _Actor,  # pyright: ignore[reportArgumentType]
            fn_constructor_args=(make, arguments),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=count, max_size=count),
            num_cpus=1,
        )
        for block in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            batch = cast(pa.Table, block)
            for result, error in zip(batch["result"].to_pylist(), batch["error"].to_pylist(), strict=True):
                if error is not None:
                    raise pickle.loads(error)
                yield result


class _Actor:
    """A worker behind Ray Data. What a store refuses, and a setting that this machine cannot meet, travels as a value:
    Ray would wrap it, and retry."""

    def __init__(self, make: Callable[..., Worker], arguments: tuple[Any, ...]) -> None:
        torch.set_num_threads(1)
        self._worker = make(*arguments)

    def __call__(self, batch: pa.Table) -> pa.Table:
        outcomes = [self._outcome(pickle.loads(task)) for task in batch["task"].to_pylist()]
        results, errors = zip(*outcomes, strict=True)
        return pa.table({"result": pa.array(results, pa.large_binary()), "error": pa.array(errors, pa.binary())})

    def _outcome(self, task: Any) -> tuple[bytes | None, bytes | None]:
        try:
            return self._worker(task), None
        except (StorageError, SettingsError) as error:
            return None, pickle.dumps(error)
