"""Surveys that arrive one after the other, of animals that are easy to tell apart: each species is a colour."""

import io
import json
import random
from itertools import product
from typing import Any

import numpy as np
from PIL import Image

from infra.storage import Store

COLOURS = {"red fox": (200, 60, 40), "roe deer": (60, 160, 60), "wild boar": (60, 70, 190)}
TAXA = {"red fox": "Vulpes vulpes", "roe deer": "Capreolus capreolus", "wild boar": "Sus scrofa"}
NAMES = tuple(COLOURS)
EVENTS, FRAMES = 10, 2


def frame(species: str, seed: int) -> bytes:
    """A JPEG of 32 x 32 pixels in the species' colour, with noise of its own."""
    noise = np.random.default_rng(seed).normal(0, 25, (32, 32, 3))
    stream = io.BytesIO()
    Image.fromarray((noise + COLOURS[species]).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def arrive(store: Store, name: str, places: int, species: tuple[str, ...], **labels: Any) -> None:
    """Writes a COCO Camera Traps survey: at each place EVENTS events of FRAMES frames, of each species as many."""
    said = images(name, places, species, **labels)
    for n, (seen, one) in enumerate(zip(images(name, places, species), said, strict=True)):
        store.put(one["file_name"], frame(seen["species"], sum(map(ord, name)) * 100_000 + n))
    label(store, said)


def images(
    name: str, places: int, species: tuple[str, ...], shuffled: bool = False, wrong: int = 0
) -> list[dict[str, Any]]:
    """The frames of a survey with the species that they are labelled with. With `shuffled` labels say nothing about
    images; else the first `wrong` are of another species."""
    draw = random.Random(name)
    found: list[dict[str, Any]] = []
    for place, event, n in product(range(places), range(EVENTS), range(FRAMES)):
        seen = (event + (len(found) < wrong)) % len(species)
        found.append(
            {
                "id": f"{name}{len(found)}",
                "file_name": f"{name}-{place}/{len(found):04d}.jpg",
                "location": f"{name} {place}",
                "seq_id": f"{name}{place}-{event}",
                "datetime": f"2024-05-{1 + event:02d} 1{n}:{place:02d}:0{n}",
                "species": draw.choice(species) if shuffled else species[seen],
            }
        )
    return found


def label(store: Store, labelled: list[dict[str, Any]]) -> None:
    """Writes the metadata of `images`."""
    numbers = {name: n for n, name in enumerate(NAMES, 1)}
    document = {
        "info": {"version": "1"},
        "images": [{key: value for key, value in one.items() if key != "species"} for one in labelled],
        "categories": [{"id": n, "name": TAXA[name]} for name, n in numbers.items()],
        "annotations": [
            {"id": one["id"], "image_id": one["id"], "category_id": numbers[one["species"]]} for one in labelled
        ],
    }
    store.put("metadata.json", json.dumps(document).encode())
