"""What would make the host wait for a GPU, told on a CPU: operations whose value, or the shape of whose result, the
host must know before it can go on."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten: Any = torch.ops.aten
READS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.unique_dim.default,
    aten._unique2.default,
    aten.repeat_interleave.Tensor,
}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
TAKEN = {Tensor.tolist, Tensor.numpy, Tensor.cpu}
"""Of which dispatch does not see each on a CPU."""


class _Operations(TorchDispatchMode):
    def __init__(self, places: list[str]):
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS or (func in INDEXED and any(_is_mask(one) for one in args[1])):
            self.places.append(f"{func} in {_place()}")
        return func(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    def __init__(self, places: list[str]):
        super().__init__()
        self.places = places

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in TAKEN:
            self.places.append(f"{func.__name__} in {_place()}")
        return func(*args, **(kwargs or {}))


def _is_mask(index: Tensor | None) -> bool:
    """What booleans select has as many rows as there are True."""
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _place() -> str:
    """The innermost file of ours, and the function."""
    ours = [one for one in traceback.extract_stack() if "/xmodal/" in one.filename or "/pipelines/" in one.filename]
    last = [f"{one.filename.split('/')[-1]}: {one.name}" for one in ours if "/tests/" not in one.filename]
    return last[-1] if last else "no file of ours"


@contextmanager
def host_reads() -> Iterator[list[str]]:
    """The places, in their order, at which the host reads within the block."""
    places: list[str] = []
    with _Calls(places), _Operations(places):
        yield places
