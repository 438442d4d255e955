"""Writes the generated survey into a store: images, Camtrap DP package, COCO Camera Traps JSON, detector results."""

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from infra.storage import Store
from pipelines.demo.camtrap_package import camtrap_files
from pipelines.demo.files import Shot, damage, encode
from pipelines.demo.frames import Camera
from pipelines.demo.json_files import coco_camera_traps, megadetector_results
from pipelines.demo.species import SPECIES
from pipelines.demo.visits import Frame, plan
from xmodal.settings import Settings

COCO_KEY, DETECTOR_KEY, IMAGES = "annotations.cct.json", "detections.megadetector.json", "images"
"""Keys of the two JSON files, and the folder their file names are relative to; the Camtrap DP package is at the top."""
_KINDS_OF_DAMAGE = ("truncated", "empty", "web_page")


class DemoSettings(Settings):
    """Size and content of the generated survey; the same settings give the same bytes."""

    seed: int = 0
    """Every draw is keyed by it."""
    places: int = Field(default=24, ge=2)
    """Cameras, each with its own landscape and mix of species."""
    frames: int = Field(default=1800, ge=12)
    """Image files that the metadata name and the archive holds, at least three a place."""
    species: int = Field(default=8, ge=2, le=len(SPECIES))
    """Kinds of animals, the most frequent ones first."""
    width: int = Field(default=320, ge=64)
    """Pixels."""
    height: int = Field(default=240, ge=64)
    """Pixels, the strip with date and time included."""
    quality: int = Field(default=85, ge=1, le=95)
    """Of the JPEG files."""
    broken: int = Field(default=6, ge=0)
    """Files of `frames` that are cut off, empty or a web page."""
    missing: int = Field(default=2, ge=0)
    """Files that the metadata name and the archive lacks."""
    unlisted: int = Field(default=2, ge=0)
    """Images in the archive that no metadata name."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.frames < 3 * self.places or self.broken > self.frames // 4:
            raise ValueError(
                f"{self.frames} frames are too few for {self.places} places and {self.broken} broken files"
            )
        return self


TINY = DemoSettings(places=6, frames=64, species=4, broken=2, missing=1, unlisted=1, width=192, height=144)
"""A survey for tests of the whole road."""


@dataclass(frozen=True)
class Generated:
    """What was written: the shots with their truth, and the keys that metadata and archive disagree about."""

    shots: list[Shot]
    missing: list[str]
    unlisted: list[str]

    @property
    def subjects(self) -> Counter[str]:
        """Frames by what is to be seen in them: a species' name, human, blank."""
        return Counter(_subject(shot) for shot in self.shots)


def generate(store: Store, settings: DemoSettings) -> Generated:
    """Draws the survey and writes it below `store`: images, metadata, and DETECTOR_KEY last of all (`is_complete`).
    Raises what infra.storage raises."""
    species = SPECIES[: settings.species]
    frames = plan(species, settings.places, settings.frames, settings.seed)
    broken = _broken(frames, settings)
    missing = [f"{IMAGES}/place-01/LOST_{number + 1:04d}.JPG" for number in range(settings.missing)]
    unlisted = [f"{IMAGES}/place-01/COPY_{number + 1:04d}.JPG" for number in range(settings.unlisted)]
    camera = Camera(species, (settings.width, settings.height), settings.seed)
    with ThreadPoolExecutor(4) as writers:
        shots = list(_shoot(store, camera, frames, broken, [*unlisted], settings.quality, writers))
    for key, data in camtrap_files(shots, missing, species):
        store.put(key, data)
    store.put(COCO_KEY, coco_camera_traps(shots, missing, species))
    store.put(DETECTOR_KEY, megadetector_results(shots, settings.seed))
    return Generated(shots, missing, unlisted)


def is_complete(store: Store) -> bool:
    """Whether `generate` has come to its end here; what a cut one left is written again."""
    return store.head(DETECTOR_KEY) is not None


def _broken(frames: list[Frame], settings: DemoSettings) -> dict[int, str]:
    """Numbers of the frames whose files are broken, never those of people, and how."""
    numbers = [frame.number for frame in frames if frame.visit.subject != "human"]
    chosen = np.random.default_rng([settings.seed, 10]).choice(numbers, settings.broken, replace=False)
    return {int(number): _KINDS_OF_DAMAGE[turn % 3] for turn, number in enumerate(chosen)}


def _shoot(
    store: Store,
    camera: Camera,
    frames: list[Frame],
    broken: dict[int, str],
    copies: list[str],
    quality: int,
    writers: ThreadPoolExecutor,
) -> Iterator[Shot]:
    """Takes the pictures in order while earlier ones are being written."""
    pending: deque[Future[str]] = deque()
    for frame in frames:
        picture = camera.take(frame)
        data = damage(encode(picture.image, frame.number, quality), broken.get(frame.number))
        keys = [frame.key, *([copies.pop()] if copies and frame.occupied and frame.number not in broken else [])]
        pending.extend(writers.submit(store.put, key, data) for key in keys)
        while len(pending) > 16:
            pending.popleft().result()
        yield Shot(frame, picture.boxes, *picture.image.size, broken.get(frame.number))
    for write in pending:
        write.result()


def _subject(shot: Shot) -> str:
    if not shot.boxes:
        return "blank"
    species = shot.frame.visit.species
    return SPECIES[species].taxon if species >= 0 else "human"
