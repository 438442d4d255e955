"""What the order of file numbers says of a clock: a camera counts its files, so later numbers cannot be earlier times.

Hashes, shuffled names and names made of the time do not count files, nor do the numbers that files get when somebody
has sorted them by species, or has put two cameras together. A sequence is believed only where its numbers and times
mostly agree, only neighbours in it are compared, and a clock is taken to be set back only where nothing else explains
it: once in the sequence, by little or to before it began, and not where a species ends in files sorted by species.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from pipelines.prepare.cameras import Numbered

HOUR = 3600.0
WIDEST = 100
"""Most file numbers that may lack between neighbours: deleted and empty files leave gaps."""
FEWEST = 10
"""Files from which a sequence in which time once goes back still counts as in order."""
MOST_BACK = 0.1
"""Share of steps that may go back in a sequence that is still believed to count files."""
BREATH = 60.0
"""Seconds that time may go back without a word: cameras finish a burst or a video out of turn."""
CLOCK_SET = 180 * 24 * HOUR
"""A step ahead of more seconds, behind a factory date, is somebody who set the clock."""
SET_BACK = 2 * 24 * HOUR
"""Most seconds that a clock put right goes back into a time it has shown before: more than that is another order."""
MOST_STRAY = 0.1
"""Largest share of a sequence's files that may show a stray time while the others are still believed."""


@dataclass(frozen=True)
class Evidence:
    """Masks over the rows of MEDIA; the last one is of the camera of each of its rows."""

    ran_from_default: np.ndarray
    hour_back: np.ndarray
    stray: np.ndarray
    goes_back: np.ndarray


def check(order: Numbered, times: np.ndarray, default: np.ndarray, labels: np.ndarray) -> Evidence:
    """`times` in seconds, all known in `order`; `default`: whether a time is a factory date; `labels`: a number for
    what the frame is labelled. All (rows,) of MEDIA."""
    found = Evidence(*(np.zeros(len(times), bool) for _ in range(4)))
    rows, chain = _believed(order, times)
    since = _since_default(chain, times[rows], default[rows])
    found.ran_from_default[rows[since & ~default[rows]]] = True
    rows, chain = rows[~since], chain[~since]
    for begin, end in _with_back_steps(chain, times[rows]):
        own = rows[begin:end]
        _one(own, times[own], labels[own], found)
    return found


def _believed(order: Numbered, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and chains of the sequences that count files."""
    rows, chain = order.rows, order.chain
    inside = np.diff(chain) == 0
    back = inside & (np.diff(times[rows]) < -BREATH)
    size = int(chain[-1]) + 1 if len(chain) else 0
    steps, backs = (np.bincount(chain[1:][mask], minlength=size) for mask in (inside, back))
    good = (backs == 0) | ((steps >= FEWEST - 1) & (backs <= np.maximum(1, MOST_BACK * steps)))
    return rows[good[chain]], chain[good[chain]]


def _since_default(chain: np.ndarray, times: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Whether the clock runs on from a factory date: no step back, and none that shows it was set, since then."""
    step = np.diff(times)
    broken = (np.diff(chain) != 0) | (step < -HOUR) | (step > CLOCK_SET)
    run = np.r_[0, np.cumsum(broken)][: len(chain)]
    first = np.r_[True, broken][: len(chain)]
    return default[first][run] if len(run) else default


def _with_back_steps(chain: np.ndarray, times: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of the sequences in which time goes back: few, so that each may be looked at by itself."""
    if not len(chain):
        return []
    begins = np.flatnonzero(np.r_[True, np.diff(chain) != 0])
    ends = np.r_[begins[1:], len(chain)]
    back = np.r_[False, (np.diff(chain) == 0) & (np.diff(times) < -BREATH)]
    some = np.add.reduceat(back, begins) > 0
    return list(zip(begins[some].tolist(), ends[some].tolist(), strict=True))


def _one(rows: np.ndarray, times: np.ndarray, labels: np.ndarray, found: Evidence) -> None:
    """Judges one sequence by its longest rising part and what stands outside it by more than an hour."""
    kept = longest_rising(times)
    far = _distance(times, kept)
    outside = far > HOUR
    if outside.mean() <= MOST_STRAY and _come_back(times, kept, outside):
        found.stray[rows[outside]] = True
        found.hour_back[rows[(far > BREATH) & ~outside]] = True
    elif _set_back(times, labels):
        found.goes_back[rows] = True


def _set_back(times: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a clock set back is the likeliest reason for the order of these times."""
    drops = np.flatnonzero(np.diff(times) < -HOUR)
    if len(drops) != 1:
        return False
    after = int(drops[0]) + 1
    near = times[after - 1] - times[after] <= SET_BACK
    changes = np.flatnonzero(np.diff(labels)) + 1
    by_label = after in changes and len(changes) == len(np.unique(labels)) - 1
    return bool(near or times[after:].max() < times[:after].min()) and not by_label


def longest_rising(times: np.ndarray) -> np.ndarray:
    """bool (n,): members of a longest part of `times` that never falls (patience sorting, O(n log n))."""
    tails: list[float] = []
    places: list[int] = []
    before = np.full(len(times), -1)
    for place, time in enumerate(times.tolist()):
        position = bisect_right(tails, time)
        before[place] = places[position - 1] if position else -1
        tails[position : position + 1] = [time]
        places[position : position + 1] = [place]
    kept, place = np.zeros(len(times), bool), places[-1] if places else -1
    while place >= 0:
        kept[place] = True
        place = int(before[place])
    return kept


def _distance(times: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Seconds by which each time lies before the last kept one or behind the next; 0 for those kept."""
    last = np.maximum.accumulate(np.where(kept, times, -np.inf))
    following = np.minimum.accumulate(np.where(kept, times, np.inf)[::-1])[::-1]
    return np.maximum(0, np.maximum(last - times, times - following))


def _come_back(times: np.ndarray, kept: np.ndarray, outside: np.ndarray) -> bool:
    """Whether each piece outside the rising part leaves it by a step and comes back by another, of which the one ahead
    is longer than any pause of this camera. A clock that was set back once shows no such step ahead."""
    step = np.diff(times)
    pause = max(HOUR, float(step[kept[1:] & kept[:-1]].max(initial=0)))
    edges = np.diff(np.r_[False, ~kept, False].astype(int))
    for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if outside[begin:end].any():
            if begin == 0 or end == len(times):
                return False
            leaving, returning = step[begin - 1], step[end - 1]
            if not (leaving > pause and returning < 0) and not (leaving < 0 and returning > pause):
                return False
    return True
