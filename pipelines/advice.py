"""What a recipe's momentum and queue come to, and one line of warning for each setting that will disappoint: before any
compute is spent.

    staleness          S = 1 - m^(K / B), how far the key encoder moves while a key is stored; where m changes
                       (`warmup`, `cosine`), 1 - prod m_t over the steps before the middle and before the end of the run
    age                K / B steps
    half-life          ln 2 / -ln m steps, and (1 - m) * steps: below about 5 the key encoder never arrives; where m
                       changes, m is its geometric mean over the run
    false negatives    C * sum_s p_s^2 related candidates a query, p_s the species' shares of what is drawn and C the
                       candidates of a task: K + B - 1 with the queue, B - 1 within the batch; where no species is
                       known, the earlier keys of the query's own image (`own_image`)
"""

import math
from collections import Counter
from collections.abc import Iterable

from pipelines.recipe import Recipe
from xmodal.momentum import MomentumSettings

ARRIVES = 5.0
"""Least (1 - m) * steps of a run."""
OLDEST = 0.7
"""Staleness beyond that of every published setting (LAVIS, COCO retrieval: 0.68)."""
WINDOWS = 4
"""Windows of a refresh that a queue should at least be long (docs/shortcut.md)."""
LESSONS = {
    True: "when a key was made instead of what it shows (docs/shortcut.md)",
    False: "to part images that one text is true of",
}
"""What false negatives teach, with stored keys and without."""
CROWDED = 1.0
"""False negatives a query, from which `fn_policy: none` is warned of."""


def simpson(species: Iterable[str | None], power: float = 1.0) -> float:
    """Sum of squared shares of the species when one of n images gets draws in proportion to n ** power; images without
    a species are related to none."""
    counts = Counter(species)
    draws = {name: count**power for name, count in counts.items()}
    total = sum(draws.values())
    return sum((number / total) ** 2 for name, number in draws.items() if name is not None)


def own_image(size: int, rows: int) -> float:
    """Keys of a query's own image among the newest `size` drawn before its batch, on average, where an epoch draws each
    of `rows` images once in a new order: K (K + 1) / 2n^2 up to K = n, then K / n - 1/2 + 1/2n."""
    n = max(rows, 1)
    return size * (size + 1) / 2 / n**2 if size <= n else size / n - (1 - 1 / n) / 2


def told(recipe: Recipe, steps: int | None = None, rows: int | None = None, share: float | None = None) -> list[str]:
    """Notes, then warnings. `steps` of the run, `rows` of its training split and `share` (see `simpson`) are known once
    there is a dataset."""
    parts = [_queue(recipe, steps), _refresh(recipe), _run(recipe, steps), _still(recipe, steps), _size(recipe, rows)]
    parts += _negatives(recipe, rows, share)
    notes = [note for note, _ in parts if note]
    return [*notes, *(f"WARNING: {warning}" for _, warning in parts if warning)]


Told = tuple[str, str]
"""A note and a warning, either may be empty."""


def _queue(recipe: Recipe, steps: int | None) -> Told:
    momentum, size = recipe.model.momentum, recipe.model.queue.size
    age = math.ceil(size / recipe.train.global_batch)
    note = f"queue of {size} keys: {age} steps old at most"
    if steps is None and momentum.changes:
        return f"{note}; how stale depends on the length of the run, which a dataset tells", ""
    halfway, end = (momentum.staleness(age, step) for step in ((age, age) if steps is None else (steps // 2, steps)))
    figures = f"{halfway:.2f} halfway, {end:.2f} at the end" if momentum.changes else f"{end:.2f}"
    note = f"{note}, staleness {figures} (0 none, 1 all)"
    old = max(halfway, end)
    if old <= OLDEST:
        return note, ""
    return note, (
        f"model.queue.size {size} with {_written(momentum)}: the oldest keys are {old:.0%} out of date; a smaller "
        "queue, a larger coefficient or a shorter warm-up keeps them fresher"
    )


def _written(momentum: MomentumSettings) -> str:
    """The schedule as a recipe says it."""
    more = {"warmup": momentum.warmup > 1, "cosine": momentum.cosine > 0}
    said = [f"{name} {getattr(momentum, name)}" for name, there in more.items() if there]
    return ", ".join([f"model.momentum.coefficient {momentum.coefficient}", *said])


def _refresh(recipe: Recipe) -> Told:
    refresh, age = recipe.model.queue.refresh, recipe.model.queue.size / recipe.train.global_batch
    if refresh is None or refresh.every <= max(1.0, age / WINDOWS):
        return "", ""
    return "", (
        f"model.queue.refresh.every {refresh.every}: keys are at most {age:.0f} steps old, and rows of the "
        f"current window are not refreshed; take at most {max(1, int(age / WINDOWS))}"
    )


def _run(recipe: Recipe, steps: int | None) -> Told:
    m = _mean(recipe.model.momentum, steps) if steps else 0.0
    if not steps or m == 0:
        return "", ""
    half = math.log(2) / -math.log(m) if m < 1 else math.inf
    note = f"key encoder: half-life {half:.0f} of {steps} steps, (1 - m) * steps = {(1 - m) * steps:.1f}"
    note += f", m = {m:.4g} on average" if recipe.model.momentum.changes else ""
    if (1 - m) * steps >= ARRIVES:
        return note, ""
    return note, (
        f"{_written(recipe.model.momentum)}: (1 - m) * steps = {(1 - m) * steps:.1f}, below {ARRIVES:.0f} the key "
        f"encoder never arrives; for {steps} steps take at most {max(0.0, 1 - ARRIVES / steps):.4g}, or train longer"
    )


def _mean(momentum: MomentumSettings, steps: int) -> float:
    """Geometric mean of m_t over the run: mean^steps of the first key encoder is left at its end."""
    every = [momentum.at(step) for step in range(steps)]
    return math.exp(sum(map(math.log, every)) / steps) if all(every) else 0.0


def _still(recipe: Recipe, steps: int | None) -> Told:
    cosine = recipe.model.momentum.cosine
    if not steps or not 0 < cosine < steps:
        return "", ""
    return "", f"model.momentum.cosine {cosine}: from step {cosine} of {steps} on the key encoder stands still (m = 1)"


def _size(recipe: Recipe, rows: int | None) -> Told:
    return "", "" if rows is None else unfilled(recipe, rows)


def unfilled(recipe: Recipe, rows: int) -> str:
    """The warning of a queue that is longer than the run of `rows` images an epoch, which then never fills it, or than
    an epoch; empty where it is neither."""
    size, seen = recipe.model.queue.size, recipe.train.epochs * rows
    if size > seen:
        return (
            f"model.queue.size {size}: the run sees {seen} images in all, so the queue never fills and candidates are "
            f"fewer than it says; take at most {rows}, the train split"
        )
    if size > rows:
        return f"model.queue.size {size}: the train split has {rows} images, so a key's own image is stored beside it"
    return ""


def _negatives(recipe: Recipe, rows: int | None, share: float | None) -> list[Told]:
    """One of each task that tells pairs from negatives."""
    stored, tasks = recipe.model.queue.size, recipe.model.tasks.present
    queue = {"itc": stored, "uto": stored if "uto" in tasks and tasks["uto"].queue_weight else 0}
    return [
        _false(recipe, name, queue.get(name, 0), rows, share) for name in ("itc", "uto", "triplet") if name in tasks
    ]


def _false(recipe: Recipe, task: str, stored: int, rows: int | None, share: float | None) -> Told:
    candidates, policy = stored + recipe.train.global_batch - 1, recipe.model.tasks.present[task].fn_policy
    if share is not None:
        expected, whose = candidates * share, "are of a query's species"
    elif rows is not None and stored:
        expected, whose = own_image(stored, rows), "show a query's own image in an earlier pass"
    else:
        return "", ""
    number = f"{expected:.2g}" if expected < 1 else f"{expected:.1f}"
    note = f"false negatives of {task}: {number} of {candidates} candidates {whose}, on average"
    if policy != "none" or expected < CROWDED:
        return f"{note} (fn_policy {policy})", ""
    return note, (
        f"model.tasks.{task}.fn_policy none: {number} related candidates a query count as negatives, which teaches "
        f"{LESSONS[stored > 0]}; mask takes them out"
    )
