"""What a recipe's momentum and queue come to, and one line of warning for each setting that will disappoint: before any
compute is spent.

    staleness          S = 1 - m^(K / B), how far the key encoder moves while a key is stored
    age                K / B steps
    half-life          ln 2 / -ln m steps, and (1 - m) * steps: below about 5 the key encoder never arrives
    false negatives    C * sum_s p_s^2 related candidates a query, p_s the species' shares of what is drawn and C the
                       candidates of a task: K + B - 1 with the queue, B - 1 within the batch; where no species is
                       known, the earlier keys of the query's own image (`own_image`)
"""

import math
from collections import Counter
from collections.abc import Iterable

from pipelines.recipe import Recipe
from xmodal.momentum import staleness

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
    parts = [_queue(recipe), _refresh(recipe), _run(recipe, steps), _size(recipe, rows)]
    parts += _negatives(recipe, rows, share)
    notes = [note for note, _ in parts if note]
    return [*notes, *(f"WARNING: {warning}" for _, warning in parts if warning)]


Told = tuple[str, str]
"""A note and a warning, either may be empty."""


def _queue(recipe: Recipe) -> Told:
    model, batch = recipe.model, recipe.train.global_batch
    old = staleness(model.momentum.coefficient, model.queue.size, batch)
    age = f"{model.queue.size / batch:.0f} steps old at most"
    note = f"queue of {model.queue.size} keys: {age}, staleness {old:.2f} (0 none, 1 all)"
    if old <= OLDEST:
        return note, ""
    return note, (
        f"model.queue.size {model.queue.size} with model.momentum.coefficient {model.momentum.coefficient}: the oldest "
        f"keys are {old:.0%} out of date; a smaller queue or a larger coefficient keeps them fresher"
    )


def _refresh(recipe: Recipe) -> Told:
    refresh, age = recipe.model.queue.refresh, recipe.model.queue.size / recipe.train.global_batch
    if refresh is None or refresh.every <= max(1.0, age / WINDOWS):
        return "", ""
    return "", (
        f"model.queue.refresh.every {refresh.every}: keys are at most {age:.0f} steps old, and rows of the "
        f"current window are not refreshed; take at most {max(1, int(age / WINDOWS))}"
    )


def _run(recipe: Recipe, steps: int | None) -> Told:
    m = recipe.model.momentum.coefficient
    if steps is None or m == 0:
        return "", ""
    half = math.log(2) / -math.log(m) if m < 1 else math.inf
    note = f"key encoder: half-life {half:.0f} of {steps} steps, (1 - m) * steps = {(1 - m) * steps:.1f}"
    if (1 - m) * steps >= ARRIVES:
        return note, ""
    return note, (
        f"model.momentum.coefficient {m}: (1 - m) * steps = {(1 - m) * steps:.1f}, below {ARRIVES:.0f} the key encoder "
        f"never arrives; for {steps} steps take at most {max(0.0, 1 - ARRIVES / steps):.4g}, or train longer"
    )


def _size(recipe: Recipe, rows: int | None) -> Told:
    size = recipe.model.queue.size
    if rows is None or size <= rows:
        return "", ""
    return "", f"model.queue.size {size}: the train split has {rows} images, so a key's own image is stored beside it"


def _negatives(recipe: Recipe, rows: int | None, share: float | None) -> list[Told]:
    """One of each task that tells pairs from negatives."""
    stored, tasks = recipe.model.queue.size, recipe.model.tasks.present
    queue = {"itc": stored, "uto": stored if recipe.model.tasks.uto and recipe.model.tasks.uto.queue_weight else 0}
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
