"""Near-duplicate thinning: training frames that look like an earlier one of their event, and are labelled alike.

A burst of ten frames of one animal teaches little more than one of them. Frames are compared within an event alone and
only where their labels are the same, since a difference hash sees the scene and not the animal. Validation and test
stay as they are, so figures stay comparable.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field

from pipelines.prepare.event_labels import finds_animal
from pipelines.prepare.facts import Medium
from xmodal.look import BITS, distance
from xmodal.settings import Settings

Frame = tuple[str, int, Medium]
"""Key, difference hash, and what is known of a training frame."""


class ThinSettings(Settings):
    """Which training frames of an event are left out."""

    distance: int = Field(default=4, ge=0, le=BITS)
    """Bits of 64 by which a frame's difference hash must differ from that of every frame of its event that was kept and
    is labelled alike; one that differs in so many or fewer is left out. Neighbours of a burst mostly differ in 3."""


def near_duplicates(frames: Iterable[Frame], settings: ThinSettings, threshold: float) -> Iterator[str]:
    """Keys of those of a survey's `frames`, all of which have an event, that are left out: in the order of time and key
    the ones that look like one kept before them. `threshold`: see `data.detector_threshold`."""
    kept: dict[str, list[int]] = {}
    for key, look, medium in sorted(frames, key=_moment):
        alike = kept.setdefault(_alike(medium, threshold), [])
        if any(distance(look, other) <= settings.distance for other in alike):
            yield key
        else:
            alike.append(look)


def _moment(frame: Frame) -> tuple[str, str]:
    key, _, medium = frame
    media = medium.media or {}
    return media.get("captured_at") or media.get("time_shown") or "", key


def _alike(medium: Medium, threshold: float) -> str:
    """Equal for frames of one event whose labels are the same and in which a detector found the same."""
    assert medium.media is not None
    labels = sorted(json.dumps(_said(row), sort_keys=True) for row in medium.observations)
    detected = None if medium.detection is None else finds_animal(medium.detection, threshold)
    return json.dumps([medium.media["event_id"], detected, labels])


def _said(row: dict[str, Any]) -> dict[str, Any]:
    columns = ("level", "type", "taxon", "names", "count", "life_stage", "sex", "behavior", "caption", "origin")
    return {name: row[name] for name in columns}
