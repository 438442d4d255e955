"""What becomes of the candidates that are related to a query beside its own pair: the `fn_policy` of a task."""

from collections.abc import Callable

from torch import Tensor

from xmodal.relations import Relations

Policy = Callable[[Relations, Tensor], tuple[Tensor, Tensor]]
"""(relations, valid (N,)) -> (allowed (B, N), positive (B, N)) bool; positives are allowed, the own key is one."""


def mask(relations: Relations, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The own key against the unrelated ones."""
    return relations.own | (relations.unrelated & valid), relations.own


def soft(relations: Relations, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Own key and positives against the unrelated ones; ignored candidates leave the denominator."""
    positive = relations.own | (relations.positive & valid)
    return positive | (relations.unrelated & valid), positive


def none(relations: Relations, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The own key against every other."""
    return relations.own | valid[None], relations.own


POLICIES: dict[str, Policy] = {"mask": mask, "soft": soft, "none": none}
