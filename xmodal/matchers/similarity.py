"""The parts of SGRAF (Diao et al., AAAI 2021): global vectors by self-attention, and reasoning over similarity vectors.

Padding is masked everywhere, in the statistics of SAF's batch norm too. `batch` norms are the released ones: they take
their statistics from all images of the global batch, and their running ones follow once a batch, whatever the number of
workers and the size of blocks. `layer` norms are the default. Pairs are I images and C captions.
"""

import torch
from torch import Tensor, nn

from xmodal.distributed import sum_across
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
        """(I, C, T, width), (C, T) -> the same shape."""
        edges = masked_softmax(self.query(nodes) @ self.key(nodes).transpose(-1, -2), mask[:, None], -1)
        return self.out(edges @ nodes).relu()


class Reasoning(nn.Module):
    """SGR: several steps, each with its own weights; the pair's vector is that of the global node."""

    def __init__(self, width: int, steps: int):
        super().__init__()
        self.steps, self.norm = nn.ModuleList(Graph(width) for _ in range(steps)), NoNorm()

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """(I, C, 1 + L, width), node 0 the global one, (C, 1 + L) -> (I, C, width)."""
        for step in self.steps:
            nodes = step(nodes, mask)
        return nodes[:, :, 0]


class CaptionBatchNorm(nn.BatchNorm1d):
    """SAF's batch norm of one number a node. In training each caption has statistics of its own, over its real nodes
    with all images, as the release scores one caption at a time: other captions and how wide they are padded change
    nothing. The running ones follow the mean over the captions of a global batch: `forget`, blocks, `follow`. What
    blocks that are computed again in the backward tell is forgotten."""

    def __init__(self) -> None:
        super().__init__(1)
        self.told: list[Tensor] = []
        """(3,) of each block since `forget`: sums of its captions' means and variances, and their number."""

    @property
    def needs_all_images(self) -> bool:
        """Whether a block must hold all images of the batch."""
        return self.training

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(I, C, T), (C, T) bool -> (I, C, T); what the mask leaves out may be anything."""
        if not self.training:
            return super().forward(x.reshape(-1, 1)).view_as(x)
        count = (mask.sum(1) * len(x)).clamp(min=1)
        mean = x.masked_fill(~mask, 0).sum((0, 2)) / count
        apart = (x - mean[:, None]).masked_fill(~mask, 0)
        variance = apart.square().sum((0, 2)) / count
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.told.append(torch.stack([one.detach().sum() for one in (mean, unbiased, torch.ones_like(mean))]))
        return apart / (variance[:, None] + self.eps).sqrt() * self.weight + self.bias

    def forget(self) -> None:
        self.told.clear()

    @torch.no_grad()
    def follow(self) -> None:
        """Once a global batch; every worker calls it."""
        if not self.training:
            return
        mean, variance, captions = sum_across(torch.stack(self.told).sum(0))
        if captions > 0:
            for running, now in ((self.running_mean, mean), (self.running_var, variance)):
                running.lerp_((now / captions).to(running.dtype), self.momentum)  # pyright: ignore


class NoNorm(nn.Module):
    """A node's number as it is: over a single one a layer norm would be constant."""

    needs_all_images = False

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x

    def forget(self) -> None:
        pass

    def follow(self) -> None:
        pass


class Filtration(nn.Module):
    """SAF: beta = l1norm(sigmoid(norm(w . E_i + b))), vector = l2norm(sum beta_i E_i)"""

    def __init__(self, width: int, norm: CaptionBatchNorm | NoNorm):
        super().__init__()
        self.weigh, self.norm = nn.Linear(width, 1), norm

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """(I, C, 1 + L, width), node 0 the global one, (C, 1 + L) -> (I, C, width)."""
        share = torch.sigmoid(self.norm(self.weigh(nodes).squeeze(-1), mask)).masked_fill(~mask, 0)
        return l2norm((over_l1(share, -1)[..., None] * nodes).sum(2))
