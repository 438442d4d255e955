"""Attention to boxes: do the words for an animal look where a detector found one?

Formulas are in `xmodal.metrics.attention`. Asked of the cross-attention host of a model, on images made of patches. Two
baselines look without reading: at the middle of the image, and where its features are long.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluate.looks import Asked, Look, asked_of, looks
from pipelines.evaluate.subject import Subject
from pipelines.evaluate.thumbnails import picture
from pipelines.gallery import Split
from pipelines.report.content import Attention, FigureGroup, Heat
from xmodal.matchers import Host
from xmodal.metrics import tables
from xmodal.metrics.attention import ABOVE_UNIFORM, SWEEP, Cut, Tally, cut, image_tally, normalised_entropy
from xmodal.metrics.figure import Figure, figure
from xmodal.metrics.intervals import mean
from xmodal.patches import side_of

TITLE = "Attention to boxes"
SHOWN = 12
"""Images drawn."""
MEASURES = {
    "f1": "F1 of patches looked at and patches in a box",
    "precision": "of the patches looked at, those in a box",
    "recall": "of the patches in a box, those looked at",
    "mass": "share of the attention that lies in a box",
    "ap": "average precision over all cuts",
}
Array = NDArray[np.float64]
BASELINES: dict[str, tuple[str, Callable[[Look], Array]]] = {
    "centre": ("A look at the middle", lambda one: one.centre),
    "norm": ("A look at long features", lambda one: one.norm),
}
"""Key, who looks, and their weights."""


def attention(subject: Subject) -> tuple[list[FigureGroup], Attention]:
    """The figures and the pictures; nothing of a model without a host, the reason where they cannot be had."""
    host = subject.model.network.host
    if not isinstance(host, Host):
        return [], Attention()
    reason = _why_not(subject, host)
    if reason:
        return _missing(reason), Attention()
    asked = asked_of(subject.rows, subject.split)
    seen = looks(subject.model, subject.rows, asked)
    judged, counts = _judged(seen), _counts(asked, seen)
    if not judged:
        return _missing(f"there is no image to ask it of ({counts})"), Attention()
    rows = [*_figures(subject, judged), *_curve(subject, judged), *_tuned(subject, judged)]
    rows += [*_beside(subject, judged), *_spread(subject, seen)]
    note = (
        f"Looked at is a patch with its even share of a word's attention or more. {counts}. Words count alike within "
        "their image, images within their event."
    )
    drawn = np.random.default_rng(0).permutation(len(judged))[:SHOWN]
    return [FigureGroup(TITLE, rows, note)], Attention([_heat(subject, judged[n]) for n in drawn])


def _missing(reason: str) -> list[FigureGroup]:
    return [FigureGroup(TITLE, [], missing=[f"{TITLE.lower()}: {reason}"])]


def _why_not(subject: Subject, host: Host) -> str | None:
    if not host.words_attend:
        return "in this host regions attend to words, and no word to a region"
    if not subject.model.reads_pixels:
        return "images are regions here, and where they lie is not known"
    count = subject.model.network.query.image(subject.encoded(0)).shape[1]
    return None if side_of(count) else f"{count} tokens an image are no square of patches"


def tallied(weights: Array, one: Look, at: Cut = ABOVE_UNIFORM) -> tuple[Tally, dict[str, float]]:
    """What (Q, m) weights, a row a word, count of one image, and the means over its words of every measure."""
    relevant, valid = np.broadcast_to(one.relevant, weights.shape), np.ones(one.relevant.shape, bool)
    return image_tally(weights, relevant, valid, one.asked.animals, at)


def measured(weights: Array, one: Look, at: Cut = ABOVE_UNIFORM) -> dict[str, float]:
    """The means alone."""
    return tallied(weights, one, at)[1]


def _judged(seen: Sequence[Look]) -> list[Look]:
    """Those with a word that can be judged."""
    return [one for one in seen if tallied(one.weights, one)[0].images]


def _total(seen: Sequence[Look]) -> Tally:
    return sum((tallied(one.weights, one)[0] for one in seen), Tally())


def _counts(asked: Sequence[Asked], seen: Sequence[Look]) -> str:
    """What could be asked and what not."""
    nothing = np.zeros((0, 0))
    mute = [image_tally(nothing, nothing > 0, np.zeros(0, bool), one.animals)[0] for one in asked if not one.asked]
    total, left = sum(mute, _total(seen)), len(asked) - len(mute) - len(seen)
    return (
        f"Of {len(asked)} images {total.unknown} were seen by no detector, in {total.no_box} it found no animal, and "
        f"in {total.no_word} it found one that no text names"
        + (f"; of the others {left} were left out, evenly spread" if left else "")
        + (f"; {total.skipped} words have no patch to look at" if total.skipped else "")
    )


def _row(subject: Subject, seen: Sequence[Look], name: str, label: str, values: Sequence[float],
         chance: Sequence[float] | None, note: str = "") -> Figure:  # fmt: skip
    groups, events = ([every[one.asked.image] for one in seen] for every in (subject.groups, subject.events))
    return tables.share(f"{subject.split}/attention/{name}", label, values, chance, groups, events, note)


def _figures(subject: Subject, seen: Sequence[Look]) -> list[Figure]:
    """Chance is attention that is the same everywhere: it looks at all patches."""
    found = [measured(one.weights, one) for one in seen]
    share = [one["chance"] for one in found]
    everything = {"f1": [2 * one / (1 + one) for one in share], "recall": [1.0] * len(share)}
    rows = [
        _row(subject, seen, name, f"Words for the animal: {label}", [one[name] for one in found],
             everything.get(name, share))
        for name, label in MEASURES.items()
    ]  # fmt: skip
    total, label = _total(seen), "Words for the animal: F1 of mean precision and mean recall"
    note = f"means over images; {total.queries} words"
    both = figure(f"{subject.split}/attention/f1_of_means", total.means()["f1_of_means"], None, None, total.images, "%",
                  note, label)  # fmt: skip
    rows.append(both)
    lost = [float(one.class_share.mean()) for one in seen]
    label = "Attention to the token of the whole image, left out above"
    return [*rows, *([_row(subject, seen, "cls_mass", label, lost, None)] if any(lost) else [])]


def _curve(subject: Subject, seen: Sequence[Look]) -> list[Figure]:
    """F1 at each of the cuts. A word that looks at nothing there counts 0, and how many do is told."""
    events, rows = [subject.events[one.asked.image] for one in seen], []
    for t in SWEEP:
        found = [measured(one.weights, one, cut("uniform", t)) for one in seen]
        said = {name: 100 * mean([one[name] for one in found], events) for name in ("precision", "recall", "empty")}
        note = f"precision {said['precision']:.1f} %, recall {said['recall']:.1f} %"
        note += f"; {said['empty']:.1f} % of the words look at nothing" if said["empty"] else ""
        label = f"Words for the animal: F1 at {t:g} times the even share"
        rows.append(_row(subject, seen, f"f1_at/{t:g}", label, [one["f1"] for one in found], None, note))
    return rows


def _tuned(subject: Subject, seen: Sequence[Look]) -> list[Figure]:
    """F1 at the cut that is best on validation images, where these can be asked."""
    rows = Split.of(subject.dataset, subject.rows.reader, ("val",))
    known = _judged(looks(subject.model, rows, asked_of(rows, "val")))
    if not known:
        return []
    best = max(SWEEP, key=lambda t: mean([measured(one.weights, one, cut("uniform", t))["f1"] for one in known]))
    values = [measured(one.weights, one, cut("uniform", best))["f1"] for one in seen]
    label = f"Words for the animal: F1 at the tuned cut, {best:g} times the even share"
    note = f"the best of {len(SWEEP)} cuts on {len(known)} validation images"
    return [_row(subject, seen, "f1_tuned", label, values, None, note)]


def _beside(subject: Subject, seen: Sequence[Look]) -> list[Figure]:
    rows = []
    for key, (who, look) in BASELINES.items():
        found = [measured(look(one), one) for one in seen]
        for name in ("f1", "mass", "ap"):
            label = f"{who}: {MEASURES[name]}"
            rows.append(_row(subject, seen, f"{key}/{name}", label, [one[name] for one in found], None))
    return rows


def _spread(subject: Subject, seen: Sequence[Look]) -> list[Figure]:
    """How evenly words look, where there is an animal and where the detector found none."""
    sides = {"": ("where there is a box", True), "_no_box": ("where the detector found none", False)}
    rows = []
    for key, (words, boxed) in sides.items():
        some = [one for one in seen if one.relevant.any() == boxed and len(one.weights)]
        values = [mean(normalised_entropy(one.weights, np.ones(one.relevant.shape, bool))) for one in some]
        label = f"Evenness of the attention (entropy) {words}"
        rows += [_row(subject, some, f"entropy{key}", label, values, [1.0] * len(some))] if some else []
    return rows


def _heat(subject: Subject, one: Look) -> Heat:
    found = measured(one.weights, one)
    boxes = np.zeros((0, 4)) if one.asked.boxes is None else one.asked.boxes
    whole = one.weights.mean(0).reshape(one.side, one.side)
    return Heat(picture(subject, one.asked.image), whole, boxes, found["mass"], found["chance"])
