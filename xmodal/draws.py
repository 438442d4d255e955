"""Random numbers that are a function of what they are drawn for, not of who draws them or when.

A counter-based generator (the splitmix64 finaliser; Steele, Lea & Flood, OOPSLA 2014): each number is a hash of its
keys, so the same samples meet the same draws at any world size, in any order and after a resume, in one batched
operation on any device.
"""

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST = 0xBF58476D1CE4E5B9 - 2**64
SECOND = 0x94D049BB133111EB - 2**64


def hashed(*keys: Tensor | int) -> Tensor:
    """int64 hashes of the keys, in the shape they broadcast to; the keys' order matters."""
    state = torch.zeros((), dtype=torch.int64)
    for key in keys:
        state = _mixed((state + GOLDEN) ^ _mixed(torch.as_tensor(key, dtype=torch.int64)))
    return state


def uniform(*keys: Tensor | int) -> Tensor:
    """float64 in (0, 1), never 0 or 1."""
    return (_shifted(hashed(*keys), 12).double() + 0.5) / 2**52


def gumbel(*keys: Tensor | int) -> Tensor:
    """Standard Gumbel, float64: argmax(log w + gumbel) draws an index with probability proportional to w."""
    return -(-uniform(*keys).log()).log()


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * FIRST
    x = (x ^ _shifted(x, 27)) * SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right that brings in zeros; torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
