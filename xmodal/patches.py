"""Image tokens as a grid of patches, with or without one token of the whole image before them."""

import math


def side_of(count: int) -> int:
    """Patches of a row where an image has `count` tokens: a square, with or without one more token before it; 0 where
    there are no patches."""
    for patches in (count, count - 1):
        if patches > 1 and math.isqrt(patches) ** 2 == patches:
            return math.isqrt(patches)
    return 0


def class_tokens(count: int) -> int:
    """Tokens before the patches of `count`: 1 where they are a square and one more (CLIP, DINOv2), else 0."""
    return int(side_of(count) ** 2 == count - 1 > 0)


def no_class_token(count: int) -> int:
    """Of regions: every token is one."""
    return 0
