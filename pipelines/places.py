"""Where ROOT is when a verb is given a checkpoint and no recipe."""

from infra.storage import Store
from pipelines.recipe import ComputeSettings


def root_store(root: str | None) -> Store:
    """The store at `root`; without it where recipes that name none keep theirs."""
    return ComputeSettings(root=root).store()
