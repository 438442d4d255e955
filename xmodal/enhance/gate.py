"""The gate of a residual branch."""

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """tanh(g), g one trained number that starts at 0: the branch behind it adds exactly nothing at first, and grows
    only as far as the losses ask (Alayrac et al., Flamingo, NeurIPS 2022, section 2.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(()))

    @property
    def value(self) -> Tensor:
        """tanh(g), in (-1, 1)."""
        return self.logit.tanh()

    def forward(self, branch: Tensor) -> Tensor:
        return self.value.to(branch.dtype) * branch


def gate_values(module: nn.Module) -> dict[str, Tensor]:
    """tanh(g) of every gate below `module`, by its path."""
    gates = {name: one for name, one in module.named_modules() if isinstance(one, Gate)}
    return {name.replace(".", "/"): one.value.detach() for name, one in gates.items()}
