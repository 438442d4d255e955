"""The state of a process's random generators (torch, Python, numpy) as JSON data."""

import random
from typing import Any

import numpy as np
import torch


def state() -> dict[str, Any]:
    """What `restore` needs so that every later draw is the same."""
    version, words, gauss = random.getstate()
    return {
        "torch": _hex(torch.get_rng_state()),
        "cuda": [_hex(one) for one in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
        "python": [version, list(words), gauss],
        "numpy": _plain(np.random.get_state(legacy=False)),
    }


def restore(saved: dict[str, Any]) -> None:
    """Sets the generators; those of GPUs where there are as many as when it was saved."""
    torch.set_rng_state(_bytes(saved["torch"]))
    if len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_bytes(one) for one in saved["cuda"]])
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
    numpy = saved["numpy"]
    key = np.array(numpy["state"]["key"], np.uint32)
    np.random.set_state(numpy | {"state": {"key": key, "pos": numpy["state"]["pos"]}})


def _hex(words: torch.Tensor) -> str:
    return bytes(words.tolist()).hex()


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)


def _plain(node: Any) -> Any:
    """numpy's nested state with arrays as lists."""
    if isinstance(node, dict):
        return {name: _plain(value) for name, value in node.items()}
    return node.tolist() if isinstance(node, np.ndarray) else node
