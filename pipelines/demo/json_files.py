"""The generated survey as COCO Camera Traps JSON, and a detector's results over it, its mistakes included."""

import json
from collections.abc import Iterator

import numpy as np

from pipelines.demo.camtrap_package import TITLE
from pipelines.demo.files import Shot
from pipelines.demo.frames import Box
from pipelines.demo.species import Species
from pipelines.demo.visits import place_name


def coco_camera_traps(shots: list[Shot], missing: list[str], species: tuple[Species, ...]) -> bytes:
    """The JSON file; `file_name` is relative to the folder images. `missing` are named and not in the archive."""
    categories: list[dict[str, object]] = [{"id": 0, "name": "empty"}]
    categories += [
        {"id": number, "name": one.names["eng"], "scientific_name": one.taxon}
        for number, one in enumerate(species, start=1)
    ]
    categories.append({"id": len(categories), "name": "human"})
    images = [_image(shot) for shot in shots]
    images += [{"id": f"lost-{key}", "file_name": _relative(key), "location": "place-01"} for key in missing]
    document = {
        "info": {"version": "1.0", "description": TITLE, "year": 2025, "contributor": "xmodal"},
        "images": images,
        "categories": categories,
        "annotations": [annotation for shot in shots for annotation in _annotations(shot, len(species))],
    }
    return json.dumps(document).encode()


def _relative(key: str) -> str:
    return key.removeprefix("images/")


def _image(shot: Shot) -> dict[str, object]:
    frame = shot.frame
    image: dict[str, object] = {
        "id": f"m{frame.number:06d}",
        "file_name": _relative(frame.key),
        "width": shot.width,
        "height": shot.height,
        "location": place_name(frame.visit.place),
        "datetime": f"{frame.moment:%Y-%m-%d %H:%M:%S}",
        "seq_id": frame.visit.event_id,
        "seq_num_frames": frame.visit.frames,
        "frame_num": frame.position,
    }
    return {**image, "corrupt": True} if shot.broken else image


def _annotations(shot: Shot, kinds: int) -> Iterator[dict[str, object]]:
    """One for each animal in view, boxed on every second frame; one for a blank, a person or a whole sequence."""
    visit, common = shot.frame.visit, {"image_id": f"m{shot.frame.number:06d}"}
    name = f"a{shot.frame.number:06d}"
    if visit.labelled_by_event:
        yield {"id": name, "category_id": visit.species + 1, "sequence_level_annotation": True, **common}
    elif not shot.boxes:
        yield {"id": name, "category_id": 0, **common}
    else:
        category = kinds + 1 if visit.subject == "human" else visit.species + 1
        for number, (x, y, width, height) in enumerate(shot.boxes):
            pixels = [x * shot.width, y * shot.height, width * shot.width, height * shot.height]
            box = {} if shot.frame.number % 2 else {"bbox": [round(value, 1) for value in pixels]}
            yield {"id": f"{name}-{number}", "category_id": category, **box, **common}


def megadetector_results(shots: list[Shot], seed: int) -> bytes:
    """Results in format 1.6: boxes a little off, some animals missed, some seen where none are, broken files failed."""
    document = {
        "info": {
            "format_version": "1.6",
            "detector": "none: boxes of the drawing program with invented mistakes",
            "detection_completion_time": "2025-10-01 00:00:00",
            "detector_metadata": {"typical_detection_threshold": 0.2},
        },
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": [_result(shot, np.random.default_rng([seed, 9, shot.frame.number])) for shot in shots],
    }
    return json.dumps(document).encode()


def _result(shot: Shot, rng: np.random.Generator) -> dict[str, object]:
    file = _relative(shot.frame.key)
    if shot.broken:
        return {"file": file, "failure": "image access failure", "detections": None}
    category = "2" if shot.frame.visit.subject == "human" else "1"
    found = [
        _detection(category, np.array(box) + rng.normal(0, 0.008, 4), 0.35 + 0.62 * rng.beta(6, 1.5))
        for box in shot.boxes
        if rng.random() > 0.06
    ]
    if rng.random() < 0.08:
        found.append(_detection("1", rng.uniform((0, 0.2, 0.05, 0.05), (0.8, 0.8, 0.2, 0.2)), rng.uniform(0.02, 0.19)))
    return {"file": file, "detections": found}


def _detection(category: str, box: np.ndarray, confidence: float) -> dict[str, object]:
    x, y = np.clip(box[:2], 0, 0.95)
    width, height = min(max(box[2], 0.01), 1 - x), min(max(box[3], 0.01), 1 - y)
    shown: Box = (round(float(x), 4), round(float(y), 4), round(float(width), 4), round(float(height), 4))
    return {"category": category, "conf": round(confidence, 3), "bbox": list(shown)}
