"""What privacy keeps out: people and vehicles, by label or by detector's box, and what the archive calls not public.

It asks every row there is. A label of a whole event closes all its frames, and what a reader refused or another row
supersedes still closes the file or event that it names, be that a medium or not (SIGNS of pipelines/sources/schema.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import at, mask
from pipelines.prepare.settings import DataSettings
from pipelines.sources.schema import Survey


@dataclass(frozen=True)
class Closed:
    """One kind that is kept out (human | vehicle | not_public), and all that is known to be of it."""

    kind: str
    media: np.ndarray
    """bool (media,): a label of the medium or of its event, or the archive itself, says so."""
    keys: pa.ChunkedArray
    """Of files of which a sign says so."""

    def among(self, keys: pa.ChunkedArray, media: np.ndarray) -> np.ndarray:
        """bool (files,) of files by their keys and their rows of MEDIA, NONE for none."""
        return at(self.media, media, False) | mask(pc.is_in(keys, value_set=self.keys))


def closed(survey: Survey, data: DataSettings) -> list[Closed]:
    """The kinds that the settings do not let in; of several that a file is of the first is named."""
    let_in = {"human": data.privacy.people, "vehicle": data.privacy.vehicles, "not_public": data.privacy.non_public}
    sure = pc.field("confidence").is_null() | (pc.field("confidence") >= data.detector_threshold)
    signs = survey.signs.filter(sure)
    out = {kind: signs.filter(pc.field("kind") == kind) for kind, inside in let_in.items() if not inside}
    return [Closed(kind, _media(survey, kind, own["event_id"]), own["key"]) for kind, own in out.items()]


def _media(survey: Survey, kind: str, signed: pa.ChunkedArray) -> np.ndarray:
    """bool (media,). `signed`: events of which a sign says so."""
    if kind == "not_public":
        return mask(pc.equal(survey.media["public"], False))
    ids, events = survey.media["media_id"], survey.media["event_id"]
    shown = survey.observations.select(["media_id", "level", "type"]).filter(pc.field("type") == kind)
    burst = shown.filter(pc.field("level") == "event")["media_id"]  # of each one medium at least
    theirs = pa.chunked_array([*events.filter(pc.is_in(ids, value_set=burst)).chunks, *signed.chunks], pa.string())
    of_event = pc.is_in(events, value_set=theirs.drop_null().unique())
    return mask(pc.is_in(ids, value_set=shown["media_id"])) | mask(of_event)


def kinds(private: Sequence[Closed], keys: pa.ChunkedArray, media: np.ndarray) -> np.ndarray:
    """str or None (files,): what each file is kept out for."""
    found = np.full(len(keys), None, object)
    for one in reversed(private):
        found[one.among(keys, media)] = one.kind
    return found
