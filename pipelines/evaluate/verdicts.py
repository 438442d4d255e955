"""Animal or blank, by the machines that the archive had before and by the model, on the same frames."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.blanks import MISSES, Blanks, misses
from pipelines.evaluate.machines import by_machine, name_of, surest
from pipelines.evaluate.subject import Subject
from pipelines.prepare.precedence import SILENT
from pipelines.report.content import Incumbent, Pair
from xmodal.metrics import survey_tables, tables
from xmodal.metrics.figure import Figure
from xmodal.metrics.paired import Paired, paired

TOLD = (
    "Where labels of whole events reach only frames in which a detector found an animal, that detector can miss none "
    "of them: its own misses are then larger than they look."
)
UNTAUGHT = "The model has learnt no word for a blank, so it has no verdict to set beside."
WHAT = "telling animals from blanks"
BALANCED = "Animal or blank right, both weighted equally"


def verdicts(subject: Subject, candidates: int, asked: Blanks, origin: str) -> Incumbent | None:
    """None where the machine answered for no animal frame or for no blank one; people's labels alone count."""
    entries = [surest(subject.incumbents[n], origin) for n in asked.images]
    types = {
        n: one["type"]
        for n, one in enumerate(entries)
        if one and not by_machine(subject.facts[int(asked.images[n])], "type")
    }
    kept = [n for n, said in types.items() if said not in SILENT]
    own = asked.part(kept)
    if own.blank.all() or not own.blank.any():
        return None
    called = np.array([types[n] == "blank" for n in kept])
    who, prefix = name_of(origin), f"{subject.split}/{origin}/blank"
    title, note = f"Animal or blank, beside {who}", f"The same {len(kept)} frames for both. {TOLD}"
    if without := len(types) - len(kept):
        note = f"{without} frames on which {who} has no verdict are left out. {note}"
    theirs = [_right(f"{prefix}/incumbent", who, own, called), *misses(f"{prefix}/incumbent", who, own, called, None)]
    if own.called is None:
        pairs = [Pair(label, one) for label, one in zip((BALANCED, *MISSES), theirs, strict=True)]
        return Incumbent(who, WHAT, title, None, pairs, f"{note} {UNTAUGHT}")
    ours = [_right(f"{prefix}/model", "The model", own, own.called),
            *misses(f"{prefix}/model", "The model", own, own.called, candidates)]  # fmt: skip
    apart = _apart(own, own.called, called)
    ahead = survey_tables.over(f"{prefix}/ahead", f"Model minus {who}: {BALANCED.lower()}", apart)
    pairs = [Pair(BALANCED, theirs[0], ours[0], ahead, apart.better)]
    pairs += [Pair(*row) for row in zip(MISSES, theirs[1:], ours[1:], strict=True)]
    return Incumbent(who, WHAT, title, ahead, pairs, note)


def _kinds(own: Blanks) -> Sequence[str]:
    return ["blank" if one else "animal" for one in own.blank]


def _right(prefix: str, who: str, own: Blanks, called: NDArray[np.bool_]) -> Figure:
    """Whoever does not look at the frame is right in half, animals and blanks weighted equally."""
    right, known = ((of == own.blank).astype(np.float64) for of in (called, own.place_only))
    label = f"{who}: {BALANCED.lower()}"
    return tables.share(f"{prefix}/balanced", label, right, 0.5, own.groups, _kinds(own), baseline=known)


def _apart(own: Blanks, ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> Paired:
    model, machine = ((of == own.blank).astype(np.float64) for of in (ours, theirs))
    return paired(model, machine, own.groups, _kinds(own))
