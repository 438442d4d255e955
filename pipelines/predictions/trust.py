"""What `evaluate` found out about a checkpoint's confidence, in a file beside the run that `predict` reads.

`runs/NAME/trust-HASH.json`, HASH the first digits of the SHA-256 of the weights: an evaluation of another checkpoint of
the run is not mistaken for this one's. `evaluate --card` writes it as `trust.json` too.
"""

import json

from infra.storage import Denied, Store, open_store
from infra.storage import NotFound as MissingObject
from pipelines.errors import NotFound
from pipelines.progress import warn
from pipelines.train.runs import Run
from xmodal.inference import Inference
from xmodal.metrics.intervals import Interval
from xmodal.settings import Settings, SettingsError, parse

TRUST = "trust.json"
"""Its name in a card's folder."""
PRECISIONS = (0.8, 0.9, 0.95, 0.98, 0.99)
"""Shares of right answers that can be asked for."""
WANTED = 0.95


def check_precision(wanted: float) -> None:
    """Raises SettingsError for one that `evaluate` finds no thresholds for."""
    if wanted not in PRECISIONS:
        allowed = ", ".join(map(str, PRECISIONS))
        raise SettingsError(f"--precision {wanted}: thresholds are known for {allowed}")


class Share(Settings):
    """A share of n frames, 0..1, with its 95 % interval, places resampled; null bounds where there is one place."""

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def interval(self) -> Interval | None:
        return None if self.low is None or self.high is None else Interval(self.low, self.high)


class MeasuredSpecies(Settings):
    """Frames that show a species, and answers that name it."""

    answered: Share | None
    """Of the frames that show it, those that are answered at any rank; null where the split has none."""
    right: Share | None
    """Of the frames that are called so, those that are; null where none is."""


class Measured(Settings):
    """What thresholds give on the frames of the test split at places that training has not seen, as if nobody had
    labelled them."""

    frames: int
    places: int
    answered: Share
    right: Share | None
    """Of those answered; null where none is, or every record is too coarse to tell."""
    looks: Share
    """Looks that are left to people, of the frames: one look settles the frames of an event that are alike."""
    bare: float
    """The same without a model: every event is looked at."""
    species: dict[str, MeasuredSpecies]


class Trust(Settings):
    """Temperature and thresholds of one checkpoint, found on validation images, and what they give."""

    weights: str
    """SHA-256 of the weights."""
    run: str
    step: int
    dataset: str
    dataset_version: int
    dataset_digest: str
    species: tuple[str, ...]
    """The classes, in their order."""
    blank: bool
    """Whether the empty frame is one too, after them."""
    temperature: float
    """That of the softmax (Guo et al., ICML 2017), fitted."""
    images: int
    """Validation images behind it, and events and places of these."""
    events: int
    places: int
    of_frames: dict[str, dict[str, float | None]]
    """Wanted precision to finding to the confidence it needs; null where none is enough."""
    of_events: dict[str, dict[str, float | None]]
    tested: dict[str, Measured]
    """By wanted precision; empty where the test split shows no unseen place."""
    trained: dict[str, int]
    """Training images of each species."""
    seen: tuple[str, ...]
    """Places of training images, as RECORDS has them."""

    def to_bytes(self) -> bytes:
        return self.model_dump_json(indent=1).encode()


def file_name(weights: str) -> str:
    """Name of the file of a checkpoint below its run."""
    return f"trust-{weights[:16]}.json"


def keep(run: Run | None, trust: Trust) -> None:
    """Puts it beside the run, where the store takes it; a checkpoint directory has no such place."""
    if run is None:
        return
    try:
        run.store.put(f"{run.prefix}/{file_name(trust.weights)}", trust.to_bytes())
    except Denied as error:
        warn(f"{error}; `predict classify` will need --card, the folder that `evaluate --card` writes")


def find(run: Run | None, card: str | None, model: Inference) -> Trust:
    """The file of this model: of a card's folder where one is named, else beside the run. Raises NotFound, which says
    how to make it, SettingsError where it is of another model."""
    if card is not None:
        where, data = f"{card}/{TRUST}", _read(open_store(card), TRUST)
    elif run is not None:
        name = file_name(model.weights)
        where, data = f"{run.prefix}/{name}", _read(run.store, f"{run.prefix}/{name}")
    else:
        raise NotFound("a checkpoint by its directory: give --card, the folder that `xmodal evaluate --card` wrote")
    if data is None:
        raise NotFound(f"{where}: not there; `xmodal evaluate` finds out how far this checkpoint can be believed")
    found = parsed(where, data)
    if found.weights != model.weights:
        raise SettingsError(f"{where}: of another checkpoint ({found.run}, step {found.step}); evaluate this one")
    return found


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.read(key)
    except MissingObject:
        return None


def parsed(where: str, data: bytes) -> Trust:
    """What the file `where` says. Raises SettingsError."""
    try:
        return parse(Trust, json.loads(data))
    except (ValueError, SettingsError) as error:
        told = " ".join(str(error).split())
        raise SettingsError(f"{where}: not what `xmodal evaluate` writes ({told}); evaluate again") from None
