"""Which of an image's tokens are patches."""

from xmodal.patches import class_tokens, side_of


def test_sides_of_grids() -> None:
    assert [side_of(count) for count in (49, 50, 196, 197, 2, 1, 51, 0)] == [7, 7, 14, 14, 0, 0, 0, 0]


def test_tokens_before_the_grid() -> None:
    assert [class_tokens(count) for count in (49, 50, 196, 197, 2, 1, 51, 0)] == [0, 1, 0, 1, 0, 0, 0, 0]
