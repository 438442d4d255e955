"""A Camtrap DP archive with all that the survey protocol asks for: events, blanks, day and night, a species that only
test places have, days of training places set aside, and what SpeciesNet and MegaDetector said of the frames."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from infra.storage import Store

SPECIES = {
    "Vulpes vulpes": ("Carnivora", "Canidae"),
    "Canis lupus": ("Carnivora", "Canidae"),
    "Cervus elaphus": ("Artiodactyla", "Cervidae"),
    "Sus scrofa": ("Artiodactyla", "Suidae"),
    "Canis aureus": ("Carnivora", "Canidae"),
}
OTHERS = {
    "Canidae": ("family", "Carnivora", "Canidae"),
    "Felidae": ("family", "Carnivora", "Felidae"),
    "Sus scrofa scrofa": ("subspecies", "Artiodactyla", "Suidae"),
    "Lepus europaeus": ("species", "Lagomorpha", "Leporidae"),
}
"""Rank, order and family of what frames can be labelled with in place of their species (`write`)."""
NEW = "Canis aureus"
"""At test places alone."""
PLACES, TEST_PLACES, EVENTS, FRAMES = 20, 6, 6, 2
SPECIESNET, MEGADETECTOR = "speciesnet.json", "megadetector.json"
UUID = "00000000-0000-4000-8000-000000000001"
BLANK = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"


@dataclass(frozen=True)
class Shot:
    number: int
    place: int
    event: int
    species: str | None
    """None = blank."""
    moment: datetime
    infrared: bool

    @property
    def key(self) -> str:
        return f"img/{self.number:04d}.jpg"

    @property
    def seen_by_people(self) -> bool:
        """All but one event of the first place: there SpeciesNet's word is the only one."""
        return self.event != 4


def shots(places: int = PLACES) -> list[Shot]:
    """Of each place six events of two frames, on days of their own; the last event of a place is blank."""
    found = []
    for place in range(places):
        for event in range(EVENTS):
            known = list(SPECIES)[(place + event) % 4] if event < EVENTS - 1 else None
            species = NEW if known and place < TEST_PLACES and event == 1 else known
            night = event % 2 == 1
            start = datetime(2026, 5, 1 + event, 23 if night else 11, place % 60)
            for frame in range(FRAMES):
                moment = start + timedelta(seconds=frame)
                found.append(Shot(len(found), place, place * EVENTS + event, species, moment, night))
    return found


def split() -> dict[str, Any]:
    """Six places test, and a share of the days of the others."""
    return {
        "kind": "place",
        "val": 0.2,
        "test": 0,
        "cis_test": 0.3,
        "held_out": [f"p{n:02d}" for n in range(TEST_PLACES)],
    }


def survey(archive: str) -> dict[str, Any]:
    overlays = [{"kind": "megadetector", "path": MEGADETECTOR}, {"kind": "speciesnet", "path": SPECIESNET}]
    return {"name": "protocol", "archive": archive, "source": {"kind": "camtrap_dp"}, "overlays": overlays}


def write(store: Store, places: int = PLACES, labels: Mapping[int, Sequence[str]] = MappingProxyType({})) -> list[Shot]:
    """The whole archive; `labels` are what people name in a frame (its number) in place of its species."""
    taken = shots(places)
    rows = [
        _observation(shot, name, n)
        for shot in taken
        if shot.seen_by_people
        for n, name in enumerate(labels.get(shot.number, [shot.species or ""]))
    ]
    for shot in taken:
        store.put(shot.key, picture(shot))
    store.put("datapackage.json", json.dumps(_package()).encode())
    store.put("deployments.csv", _table({"deploymentID": f"d{n}", "locationID": f"p{n:02d}"} for n in range(places)))
    store.put("media.csv", _table(map(_medium, taken)))
    store.put("observations.csv", _table(rows))
    store.put(SPECIESNET, json.dumps({"predictions": [_prediction(shot) for shot in taken]}).encode())
    store.put(MEGADETECTOR, json.dumps(_detections(taken)).encode())
    return taken


def speciesnet_label(shot: Shot) -> str:
    """What SpeciesNet says: every fifth frame a family, every seventh a wrong species, blanks as blank but for some."""
    if shot.species is None:
        return BLANK if shot.place % 4 else _label("Sus scrofa")
    if shot.number % 5 == 0:
        order, family = SPECIES[shot.species]
        return f"{UUID};mammalia;{order.lower()};{family.lower()};;;{family.lower()} family"
    return _label("Sus scrofa" if shot.number % 7 == 0 else shot.species)


def detected(shot: Shot) -> bool:
    """Whether MegaDetector finds an animal: it misses every ninth one, and sees one in the blanks of some places."""
    return shot.number % 9 != 0 if shot.species else shot.place % 3 == 0


def _label(name: str) -> str:
    order, family = SPECIES[name]
    genus, species = name.lower().split()
    return f"{UUID};mammalia;{order.lower()};{family.lower()};{genus};{species};"


def _prediction(shot: Shot) -> dict[str, Any]:
    return {"filepath": shot.key, "prediction": speciesnet_label(shot), "prediction_score": 0.9}


def _detections(taken: list[Shot]) -> dict[str, Any]:
    box = {"category": "1", "conf": 0.8, "bbox": [0.2, 0.2, 0.5, 0.5]}
    return {
        "info": {"format_version": "1.6"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": [{"file": shot.key, "detections": [box] if detected(shot) else []} for shot in taken],
    }


def picture(shot: Shot) -> bytes:
    """A JPEG whose colour tells the species, grey by night."""
    generator = np.random.default_rng(shot.number)
    colour = 40 + 40 * list(SPECIES).index(shot.species) if shot.species else 20
    pixels = np.clip(generator.normal((colour, 255 - colour, 90), 12, (32, 32, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image.convert("L").convert("RGB") if shot.infrared else image).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _table(rows: Iterable[Mapping[str, Any]]) -> bytes:
    every = list(rows)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(every[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(every)
    return stream.getvalue().encode()


def _medium(shot: Shot) -> dict[str, Any]:
    moment = f"{shot.moment:%Y-%m-%dT%H:%M:%S}+02:00"
    return {"mediaID": f"m{shot.number}", "deploymentID": f"d{shot.place}", "timestamp": moment, "filePath": shot.key,
            "filePublic": "true", "fileMediatype": "image/jpeg"}  # fmt: skip


def _observation(shot: Shot, name: str, n: int) -> dict[str, Any]:
    moment = f"{shot.moment:%Y-%m-%dT%H:%M:%S}+02:00"
    return {
        "observationID": f"o{shot.number}-{n}", "deploymentID": f"d{shot.place}", "mediaID": f"m{shot.number}",
        "eventID": f"e{shot.event}", "eventStart": moment, "eventEnd": moment, "observationLevel": "media",
        "observationType": "animal" if shot.species else "blank", "scientificName": name,
        "classificationMethod": "human",
    }  # fmt: skip


def _package() -> dict[str, Any]:
    names = ("deployments", "media", "observations")
    ranked = {name: ("species", *higher) for name, higher in SPECIES.items()} | OTHERS
    taxa = [
        {"scientificName": name, "taxonRank": rank, "kingdom": "Animalia", "phylum": "Chordata",
         "class": "Mammalia", "order": order, "family": family, "genus": "" if rank == "family" else name.split()[0]}
        for name, (rank, order, family) in ranked.items()
    ]  # fmt: skip
    return {
        "profile": "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json",
        "resources": [{"name": name, "path": f"{name}.csv"} for name in names],
        "taxonomic": taxa,
    }
