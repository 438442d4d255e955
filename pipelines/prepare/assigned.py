"""The names of the splits, and why a readable file is in none: one vocabulary for ledger, records and reports."""

from typing import Literal

SPLITS = ("train", "val", "test", "cis_val", "cis_test")
"""In the order of their codes. `train`, `val` and `test` are of every policy; the cis sets are other days of training
places and only there where the settings give them a share."""
TRAIN, VAL, TEST, CIS_VAL, CIS_TEST = range(5)
NONE = -1
"""Code of a row in no split."""

Reason = Literal[
    "unlabelled",  # no label or caption could give a text
    "cross_split_duplicate",  # its bytes, event or day stand in another split already
    "untrusted_clock",  # on which side of a cut in time it belongs is not known
    "no_published_split",  # the set's own split does not name it
    "no_caption",  # its facts gave no text
    "event_label_without_box",  # only a label of its event names it, and the detector found no animal in it
    "event_label_without_detector",  # only a label of its event names it, and no detector ran on it
    "near_duplicate",  # it looks like another training frame of its event (data.thin)
    "blank_beyond_share",  # a blank training frame that captions.blank_share leaves out
]
LEDGER_REASONS: tuple[Reason, ...] = ("cross_split_duplicate", "untrusted_clock")
"""Reasons that the ledger states of a readable file."""

Assigned = tuple[str, Reason | None]
"""Split ("none" for none), and why none."""
