"""Tensors in a safetensors file, tied ones (which the format refuses) stored once."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer


class Unreadable(ValueError):
    """The file is no safetensors file of ours."""


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes the tensors by name; a name whose tensor another name already holds is kept as that name's alias. Raises
    OSError."""
    first: dict[Any, str] = {}
    holder = {name: first.setdefault(_place(name, tensor), name) for name, tensor in tensors.items()}
    aliases = {name: held for name, held in holder.items() if held != name}
    stored = {name: _alone(tensor.detach()) for name, tensor in tensors.items() if name not in aliases}
    try:
        save_file(stored, path, metadata={"aliases": json.dumps(aliases)})
    except SafetensorError as error:  # tensors are as they must be, so it is the disk
        raise OSError(f"{path}: {error}") from None


def _place(name: str, tensor: Tensor) -> Any:
    """Equal for names that hold the same memory in the same way."""
    return (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()) if tensor.numel() else name


def _alone(tensor: Tensor) -> Tensor:
    """Contiguous, and a copy where its memory holds more than itself: parts of one tensor may not share a file."""
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.contiguous() if whole else tensor.clone(memory_format=torch.contiguous_format)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors by name, on the CPU. Raises Unreadable."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            aliases = json.loads(file.metadata()["aliases"])
        return tensors | {alias: tensors[name] for alias, name in aliases.items()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise Unreadable(str(error)) from None


def optimizer_parts(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors named `parameter.slot` and JSON data for the rest."""
    state = optimizer.state_dict()
    flat = {f"{index}.{slot}": value for index, slots in state["state"].items() for slot, value in slots.items()}
    tensors = {name: value for name, value in flat.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in flat.items() if name not in tensors}
    return tensors, {"groups": state["param_groups"], "plain": plain}


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """The inverse of `optimizer_parts`. Raises ValueError where the parameter groups differ."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in (tensors | rest["plain"]).items():
        index, _, slot = name.partition(".")
        state.setdefault(int(index), {})[slot] = value
    groups = [
        {name: tuple(value) if name == "betas" else value for name, value in group.items()} for group in rest["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
