"""What all hosts can be told."""

from typing import Literal

from pydantic import Field

from xmodal.settings import Settings


class HostSettings(Settings):
    """Space and reduction of a cross-attention host."""

    width: int = Field(default=1024, ge=1)
    """Dimensions of the space in which regions and words meet (the releases' 1024)."""
    project_text: bool = True
    """Whether words are projected; the releases use the text encoder's output as it is."""
    reduction: Literal["sum", "mean"] = "sum"
    """How losses over its pairs are reduced: the releases sum over the batch."""
    max_entries: int = Field(default=2**26, ge=1)
    """Most numbers of one tensor of scores by fragments; more pairs are scored in blocks (2^26 float32 = 256 MB)."""
