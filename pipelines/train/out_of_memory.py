"""Memory that does not suffice, whoever says so: one line that names the settings which make a step smaller.

torch and Python raise where an allocation fails. The same step would fail again, so no group is started for it. Ray
kills a worker where its node runs low, which may be somebody else's doing: that is a worker's death like any other, and
the line comes when no more are survived. The kernel's own killer leaves no reason behind.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray.exceptions
import torch

from pipelines.errors import Failed

SMALLER = (
    "compute.gradient_checkpointing: true and more compute.workers make a step smaller and the same run goes on; "
    "train.accumulate, train.precision: bf16 and a smaller model.queue.size begin a new one (docs/training.md, Memory)"
)
WORDS = ("can't allocate memory", "out of memory")
"""What a RuntimeError says that is one of memory: torch's allocator of the CPU, and CUDA's calls beside its own."""


class OutOfMemory(Failed):
    """An allocation failed; the text says where, and what would help."""


@contextmanager
def memory_told() -> Iterator[None]:
    """What fails in the block for want of memory is raised in one line. Raises OutOfMemory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(f"out of memory on {socket.gethostname()}{_asked(error)}: {SMALLER}") from None


def ran_out(error: BaseException) -> bool:
    """Whether `error` is an allocation that failed."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in WORDS)


def _asked(error: BaseException) -> str:
    found = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
    return f", where {found[1]} were asked for" if found else ""


def killed(error: Exception) -> Exception:
    """What to tell of a worker's death: OutOfMemory where Ray killed it because its node ran low, else itself."""
    cause = getattr(error, "health_check_failure", error)
    if not isinstance(cause, ray.exceptions.OutOfMemoryError):
        return error
    node = re.search(r"IP: ([^,)]+)", str(cause))
    where = f" ({node[1]})" if node else ""
    return OutOfMemory(f"Ray killed a training worker because its node{where} ran low on memory: {SMALLER}")
