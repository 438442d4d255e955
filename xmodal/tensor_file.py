"""Tensors in a safetensors file, tied ones (which the format refuses) stored once."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer


class Unreadable(ValueError):
    """The file is no safetensors file of ours."""


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes the tensors by name; a name whose tensor another name already holds is kept as that name's alias."""
    first: dict[Any, str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()) if tensor.numel() else name
        held = first.setdefault(place, name)
        if held != name:
            aliases[name] = held
    stored = {name: tensor.detach().contiguous() for name, tensor in tensors.items() if name not in aliases}
    save_file(stored, path, metadata={"aliases": json.dumps(aliases)})


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
