"""What a task's `build` is told of the model it joins."""

from dataclasses import dataclass

from xmodal.momentum import MomentumSettings
from xmodal.wordpiece import WordPiece


@dataclass(frozen=True)
class Sizes:
    """Widths and counts a head depends on, and the seed of its draws."""

    image_width: int
    """Width W of image tokens."""
    text_width: int
    """Width W of text tokens."""
    vocabulary: int
    """V, pieces of the caption vocabulary."""
    caption_length: int
    """C, most pieces of a caption."""
    seed: int
    """Key of every random draw the task makes."""
    attributes: int
    """A, attributes that codes are of."""
    momentum: MomentumSettings
    """How a task's own average, where it has one, follows."""
    wordpiece: WordPiece
    """The caption vocabulary."""
    patches: bool = True
    """Whether image tokens are of pixels: then one may stand before a square of them, for the whole image."""
