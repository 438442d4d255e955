"""BiGRU and generalised pooling without packed sequences: the same numbers from operations that a graph can hold.

Packing cuts a text's padding off before a GRU reads it. Its forward direction meets padding only after the last token,
so what it gives at the tokens is the same; the backward direction is given the tokens in turned order, padding behind
them, and turned back. The weights of generalised pooling depend on the number of tokens alone, so they are a table.
"""

import torch
from torch import Tensor, nn

from xmodal.encoders.bigru import BiGRUEncoder
from xmodal.pooling import SortedPooling

WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def unpacked(module: nn.Module, longest: int) -> nn.Module:
    """`module`, whose parts that pack are replaced; tokens are at most `longest` where a tower reads texts."""
    for name, child in module.named_children():
        setattr(module, name, _replaced(child, longest))
    return module


def _replaced(child: nn.Module, longest: int) -> nn.Module:
    if isinstance(child, BiGRUEncoder):
        return UnpackedBiGRU(child)
    if isinstance(child, SortedPooling):
        return TabledPooling(child, longest)
    return unpacked(child, longest)


class UnpackedBiGRU(nn.Module):
    """(B, L) ids and mask -> (B, L, width), as `BiGRUEncoder`."""

    def __init__(self, encoder: BiGRUEncoder):
        super().__init__()
        self.word = encoder.word
        self.onward, self.backward_ = _direction(encoder.gru, ""), _direction(encoder.gru, "_reverse")

    def features(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` takes."""
        return ids, mask

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        words, last = self.word(ids), mask.sum(1, keepdim=True).clamp(min=1) - 1
        turned = (last - torch.arange(ids.shape[1], device=ids.device)).clamp(min=0)[..., None]
        onward, _ = self.onward(words)
        back, _ = self.backward_(words.gather(1, turned.expand(-1, -1, words.shape[2])))
        back = back.gather(1, turned.expand(-1, -1, back.shape[2]))
        return (onward + back) / 2 * mask[..., None]


def _direction(gru: nn.GRU, ending: str) -> nn.GRU:
    """One direction of a bidirectional GRU of one layer."""
    one = nn.GRU(gru.input_size, gru.hidden_size, batch_first=True)
    for name in WEIGHTS:
        setattr(one, name, getattr(gru, name + ending))
    return one


class TabledPooling(nn.Module):
    """(B, T, W), (B, T) -> (B, W), as `SortedPooling` for T up to `longest`."""

    table: Tensor

    def __init__(self, pooling: SortedPooling, longest: int):
        super().__init__()
        with torch.no_grad():
            counts = torch.arange(1, longest + 1, device=pooling.score.weight.device)
            self.register_buffer("table", pooling.weights(counts, longest))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        count = mask.sum(1)
        lowest = torch.finfo(tokens.dtype).min
        ordered = tokens.masked_fill(~mask[..., None], lowest).sort(dim=1, descending=True).values
        real = torch.arange(tokens.shape[1], device=mask.device) < count[:, None]
        weights = self.table[count.clamp(min=1) - 1][:, : tokens.shape[1]].masked_fill(~real, 0).to(tokens.dtype)
        return (ordered.masked_fill(~real[..., None], 0) * weights[..., None]).sum(1)
