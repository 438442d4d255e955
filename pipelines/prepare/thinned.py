"""Near-duplicate thinning of a run: the training frames of every survey, from ledger and split."""

from collections.abc import Iterable

import numpy as np

from pipelines.prepare.columns import mask
from pipelines.prepare.ledger import Ledger
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.placed import Codes
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.splits import ASSIGNED
from pipelines.prepare.thinning import near_duplicates

TRAIN, LEFT_OUT = ASSIGNED.index(("train", None)), ASSIGNED.index(("none", "near_duplicate"))


def thinned(listings: Iterable[SurveyListing], ledger: Ledger, codes: Codes, data: DataSettings) -> Codes:
    """`codes` where training frames are left out that look like another one of their event."""
    if data.thin is None:
        return codes
    found = {name: own.copy() for name, own in codes.items()}
    for listing in listings:
        looks = ledger[listing.name]["look"]
        files = np.flatnonzero((codes[listing.name] == TRAIN) & mask(looks.is_valid()))
        known = zip(looks.take(files).to_pylist(), listing.known.media(files).items(), strict=True)
        frames = ((key, look, one) for look, (key, one) in known if one.media and one.media["event_id"])
        gone = near_duplicates(frames, data.thin, data.detector_threshold)
        found[listing.name][listing.files.positions(gone)] = LEFT_OUT
    return found
