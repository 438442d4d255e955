"""Places: does it hold where no camera of the training data stood (trans), beside places that it knows (cis)?

After Beery et al., Recognition in Terra Incognita, ECCV 2018. Where the dataset has a cis_test split (other days of the
places that train) it is asked beside the test split; a test split that holds both kinds of place is asked in two parts.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.evaluate.events import event_answers
from pipelines.evaluate.species import Named, named
from pipelines.evaluate.subject import Subject
from pipelines.report.content import PlaceRow, Places, Sides
from xmodal.metrics import survey_tables
from xmodal.metrics.classification import hits
from xmodal.metrics.figure import Figure
from xmodal.metrics.intervals import mean, wilson
from xmodal.metrics.worst import worst_tenth

CIS = "cis_test"
ACCURACY = ("Species right, of all images", "Species right, species weighted equally")
F1 = ("Macro F1 of single frames", "Macro F1 of events, surest frame")
ONE_KIND = {
    True: "All test places are ones that training images come from; nothing here tells about a new camera.",
    False: "All test places are unseen. The recipe's data.split.cis_test sets days of training places aside, which "
    "would tell how much better the model does where it knows the place.",
}
"""By whether the places were seen."""
UNASKED = f"No image of {CIS} shows a species that was trained on."


@dataclass(frozen=True)
class Answers:
    """Answers of images, or of events."""

    truth: list[str]
    predicted: list[str]
    place_only: list[str]
    groups: list[str]

    def part(self, kept: np.ndarray) -> "Answers":
        """Those rows of (n,) bool."""
        rows = np.flatnonzero(kept)
        return Answers(*([own[n] for n in rows] for own in (self.truth, self.predicted, self.place_only, self.groups)))

    @property
    def right(self) -> np.ndarray:
        """(n,) 1 where the answer is right."""
        return hits(self.truth, self.predicted)


@dataclass(frozen=True)
class Side:
    """What a split answers at one kind of place."""

    key: str
    """Start of its log keys: the split, and the kind of place where the split holds both."""
    words: str
    seen: bool
    images: Answers
    events: Answers | None


def places(subject: Subject, found: Named) -> Places:
    """The section: both kinds of place side by side, the worst tenth, and a row a place."""
    other = subject.on(CIS)
    answers = named(other) if other else None
    own, aside = _sides(subject, found), _sides(other, answers) if other and answers and answers.images else []
    unseen, seen = (next((side for side in [*own, *aside] if side.seen is kind), None) for kind in (False, True))
    sides = _beside(unseen, seen, len(found.candidates)) if unseen and seen else []
    told = [] if sides else [ONE_KIND[own[0].seen]]
    told += [UNASKED] if other and not aside else []
    told += [_twice(side) for side in aside if side not in (unseen, seen)]
    return Places(_worst(subject, found), _rows(subject, found), sides, note=" ".join(told))


def _twice(side: Side) -> str:
    """Of a side of cis_test that stands in no figure."""
    count, kind = len(side.images.truth), "seen" if side.seen else "unseen"
    return f"{count} images of {CIS} at {kind} places are not measured: the test split has such places too."


def _sides(subject: Subject, found: Named) -> list[Side]:
    """The kinds of place that a split holds images of, unseen ones first. An image without a place is at an unseen
    one."""
    known = subject.seen_places
    pooled = event_answers(subject, found)
    images = Answers(found.truth, found.predicted, found.place_only, found.groups)
    events = Answers(pooled.truth, pooled.predicted["max"], pooled.place_only, pooled.groups) if pooled else None
    seen = np.array([group in known for group in images.groups])
    sides = []
    for kind in (False, True):
        if (seen == kind).any():
            key = subject.split if (seen == kind).all() else f"{subject.split}/{'seen' if kind else 'unseen'}"
            words = ("Seen places, other days" if subject.split == CIS else "Seen places") if kind else "Unseen places"
            own = events and events.part(np.array([(group in known) is kind for group in events.groups]))
            sides.append(Side(key, words, kind, images.part(seen == kind), own))
    return sides


def _beside(unseen: Side, seen: Side, candidates: int) -> list[Sides]:
    """Each measure at both kinds of place, and how far accuracy is apart."""
    new, known = (_measures(side, candidates) for side in (unseen, seen))
    labels = [label for label in new if label in known]
    note = "the two kinds of place differ in their species too"
    first, second = ((side.images.right, side.images.groups) for side in (seen, unseen))
    gap = survey_tables.apart("places/seen_minus_unseen", "Seen minus unseen places", first, second, note)
    return [Sides(label, new[label], known[label], gap if label == labels[0] else None) for label in labels]


def _measures(side: Side, candidates: int) -> dict[str, Figure]:
    """Accuracy and macro F1 of images, macro F1 of events, each by its label."""
    own, prefix = side.images, f"{side.key}/species"
    asked = (own.truth, own.predicted, own.place_only, candidates, own.groups)
    found = {
        ACCURACY[0]: survey_tables.answers(f"{prefix}/micro", f"{side.words}: species right, of all images", *asked),
        ACCURACY[1]: survey_tables.answers(f"{prefix}/macro", f"{side.words}: species weighted equally", *asked,
                                           own.truth),
        F1[0]: survey_tables.f1(f"{prefix}/macro_f1", f"{side.words}: macro F1 of single frames", *asked),
    }  # fmt: skip
    if side.events and side.events.truth:
        of = side.events
        name, label = f"{side.key}/events/max/macro_f1", f"{side.words}: macro F1 of events, surest frame"
        found[F1[1]] = survey_tables.f1(name, label, of.truth, of.predicted, of.place_only, candidates, of.groups)
    return found


def _worst(subject: Subject, found: Named) -> list[Figure]:
    """The worst tenth of the places, where there are two with enough images."""
    kept = [n for n, image in enumerate(found.images) if subject.records[image]["place"]]
    where = [found.groups[n] for n in kept]
    model, known = (
        worst_tenth(hits(found.truth, answers)[kept], where) for answers in (found.predicted, found.place_only)
    )
    return [survey_tables.worst_places(subject.split, model, known)] if model and known else []


def _rows(subject: Subject, found: Named) -> list[PlaceRow]:
    right, seen = hits(found.truth, found.predicted), subject.seen_places
    where = np.array([subject.records[n]["place"] or "" for n in found.images], dtype=object)
    return [
        PlaceRow(place, place in seen, int(own.sum()), mean(right[own]), wilson(int(right[own].sum()), int(own.sum())))
        for place in sorted(set(where.tolist()) - {""})
        for own in (where == place,)
    ]
