"""What needs no image: the answers a model has to beat before it has learnt anything.

All are drawn from training records alone. Equal counts go to the first name in alphabetical order.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence


def largest_class(train_labels: Sequence[str], n: int) -> list[str]:
    """The most frequent training label, for each of n images. Raises ValueError without training labels."""
    return [most_frequent(train_labels)] * n


def place_only(
    train_places: Sequence[str | None], train_labels: Sequence[str], places: Sequence[str | None]
) -> list[str]:
    """The most frequent training label of each image's place; at a new or unknown place (None), of the whole training
    set."""
    at_place: defaultdict[str | None, list[str]] = defaultdict(list)
    for place, label in zip(train_places, train_labels, strict=True):
        at_place[place].append(label)
    anywhere = most_frequent(train_labels)
    known = {place: most_frequent(labels) for place, labels in at_place.items()} | {None: anywhere}
    return [known.get(place, anywhere) for place in places]


def most_frequent(texts: Sequence[str]) -> str:
    """The label or caption that occurs most often. Raises ValueError where there is none."""
    if len(texts) == 0:
        raise ValueError("no training label to take the most frequent of")
    return min(Counter(texts).items(), key=lambda item: (-item[1], item[0]))[0]
