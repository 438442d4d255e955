"""Real gloo groups of 1, 2 and 3 processes: one pool of processes serves every test of a session."""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
import torch.distributed as dist

LARGEST = 3


class World:
    """`run(size, function, *arguments)` gives what the function returned on each rank, in rank order.

    The function is defined at the top of a module under tests, takes the arguments and is called inside the group.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self.pool = ProcessPoolExecutor(largest, get_context("spawn"), initializer=_alone)

    def run(self, size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        with tempfile.TemporaryDirectory(prefix="xmodal-gloo-") as folder:
            tasks = [self.pool.submit(_member, rank, size, folder, function, arguments) for rank in range(size)]
            return [task.result(timeout=100) for task in tasks]

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


def _alone() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def _member(rank: int, size: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    address = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    try:
        return function(*arguments)
    finally:
        dist.destroy_process_group()
