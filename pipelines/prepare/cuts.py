"""What reading the files of a survey is asked for: boxes to cut crops around, and digests of all that decides."""

import numpy as np

from pipelines.prepare.crops import crop_boxes, label_boxes
from pipelines.prepare.digests import digest, settings_digest
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.settings import DataSettings
from xmodal.crops import Box
from xmodal.settings import fingerprint


def cuts(listing: SurveyListing, files: np.ndarray, data: DataSettings) -> tuple[dict[str, tuple[Box, ...]], set[str]]:
    """Boxes by key, of those of the files (positions) that crops are cut out of; and the keys of those whose boxes are
    of labels."""
    media = listing.known.media(files) if data.crops else {}
    found = {key: crop_boxes(medium, data.crops, data.detector_threshold) for key, medium in media.items()}
    labelled = {key for key, medium in media.items() if label_boxes(medium, data.detector_threshold)}
    return {key: own for key, own in found.items() if own}, labelled


def boxes(listing: SurveyListing, files: np.ndarray, data: DataSettings) -> dict[str, tuple[Box, ...]]:
    """The boxes alone."""
    return cuts(listing, files, data)[0]


def read_with(listing: SurveyListing, files: np.ndarray, data: DataSettings) -> list[str]:
    """For each of the files 16 hex digits of the settings that decide what reading it gives, and of its boxes."""
    whole = fingerprint({"pixels": data.pixels})
    if data.crops is None:
        return [whole] * len(files)
    own, settings = boxes(listing, files, data), settings_digest(data.crops)
    keys = listing.files.keys_of(files)
    return [digest(whole, settings, own[key])[:16] if key in own else whole for key in keys]
