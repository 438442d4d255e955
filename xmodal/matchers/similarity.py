"""The parts of SGRAF (Diao et al., AAAI 2021): global vectors by self-attention, and reasoning over similarity vectors.

Padding is masked everywhere, in the statistics of SAF's batch norm too. `batch` norms are the released ones; a batch
norm takes its statistics from one worker's rows, and of pairs from one block of them (`max_entries`), so with it a run
depends on the number of workers, and `layer` norms are the default.
"""

import torch
from torch import Tensor, nn

from xmodal.matchers.attention import masked_softmax, over_l1
from xmodal.matchers.sides import l2norm


class GlobalVector(nn.Module):
    """x_g = l2norm(sum_i w_i x_i),  w = softmax_i(w_c . (tanh(norm(W_l x_i)) * tanh(norm(W_g mean x))))"""

    def __init__(self, width: int, dropout: float, local_norm: nn.Module, global_norm: nn.Module):
        super().__init__()
        self.local = nn.Sequential(nn.Linear(width, width), local_norm, nn.Tanh(), nn.Dropout(dropout))
        self.whole = nn.Sequential(nn.Linear(width, width), global_norm, nn.Tanh(), nn.Dropout(dropout))
        self.weigh = nn.Linear(width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, T, D) with 0 at padding, (N, T) -> (N, D) unit vectors."""
        average = x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        logits = self.weigh(self.local(x) * self.whole(average)[:, None]).squeeze(-1)
        return l2norm((masked_softmax(logits, mask, -1)[..., None] * x).sum(1))


class Graph(nn.Module):
    """SGR, one step: E <- ReLU(W (softmax_rows((W_q E)(W_k E)^T) E) + b), over valid nodes."""

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.out = (nn.Linear(width, width) for _ in range(3))

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """(P, T, width), (P, T) -> the same shape."""
        edges = masked_softmax(self.query(nodes) @ self.key(nodes).transpose(1, 2), mask[:, None], -1)
        return self.out(edges @ nodes).relu()


class Reasoning(nn.Module):
    """SGR: several steps, each with its own weights; the pair's vector is that of the global node."""

    def __init__(self, width: int, steps: int):
        super().__init__()
        self.steps = nn.ModuleList(Graph(width) for _ in range(steps))

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """(P, 1 + L, width), node 0 the global one -> (P, width)."""
        for step in self.steps:
            nodes = step(nodes, mask)
        return nodes[:, 0]


class ScalarBatchNorm(nn.BatchNorm1d):
    """Batch norm of one number a node, over the valid nodes of all pairs: how wide a bucket is padded changes nothing."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(P, T), (P, T) bool -> (P, T), 0 at what the mask leaves out."""
        return torch.zeros_like(x).masked_scatter(mask, super().forward(x[mask][:, None]))


class NoNorm(nn.Module):
    """A node's number as it is: over a single one a layer norm would be constant."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x


class Filtration(nn.Module):
    """SAF: beta = l1norm(sigmoid(norm(w . E_i + b))), vector = l2norm(sum beta_i E_i)"""

    def __init__(self, width: int, norm: ScalarBatchNorm | NoNorm):
        super().__init__()
        self.weigh, self.norm = nn.Linear(width, 1), norm

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """(P, 1 + L, width), node 0 the global one -> (P, width)."""
        share = torch.sigmoid(self.norm(self.weigh(nodes).squeeze(-1), mask)).masked_fill(~mask, 0)
        return l2norm((over_l1(share, -1)[..., None] * nodes).sum(1))
