"""A tiny generated survey and its settings, for tests of what reads it; `Reads` counts what is read of a store."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from infra.storage import LocalStore, Store, open_store
from pipelines.dataset import Dataset
from pipelines.demo.survey import DETECTOR_KEY, IMAGES, TINY, generate
from pipelines.evaluate.subject import Subject
from pipelines.gallery import Split
from pipelines.prepare import flow
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.workers import InProcess
from xmodal.encoders import ImageEncoderSettings, TextEncoderSettings
from xmodal.encoders.transformer import Transformer
from xmodal.encoders.vit import ViT
from xmodal.settings import parse

IMAGE: ImageEncoderSettings = ViT(kind="vit")
TEXT: TextEncoderSettings = Transformer(kind="transformer")
OBSERVATIONS = "observations.csv"


@lru_cache
def _tiny_files() -> dict[str, bytes]:
    """Drawn once for all tests."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        generate(store, TINY)
        return {entry.key: store.read(entry.key) for entry in store.list()}


def write_survey(store: Store) -> None:
    """The tiny survey below `store`: 64 frames at 6 places, people, blanks, two broken files and a missing one."""
    for key, data in _tiny_files().items():
        store.put(key, data)


def settings(archive: str, **changes: Any) -> DataSettings:
    """Its dataset; with so few files three bad ones are more than the default share."""
    overlay = {"kind": "megadetector", "path": DETECTOR_KEY, "images_prefix": IMAGES}
    survey = {"name": "tiny", "archive": archive, "source": {"kind": "camtrap_dp"}, "overlays": [overlay]}
    base = {"name": "tiny", "surveys": [survey], "max_bad_share": 0.2, "pixels": {"size": 32}}
    return parse(DataSettings, base | changes)


def write_coco(
    store: Store, images: list[dict[str, Any]], files: dict[str, bytes], names: tuple[str, ...] = ("red fox",)
) -> None:
    """A COCO Camera Traps archive: `images` with an extra `category` (0 = empty, 1.. = `names`), and `files`."""
    categories = [{"id": 0, "name": "empty"}] + [{"id": n, "name": name} for n, name in enumerate(names, 1)]
    annotations = [
        {"id": str(n), "image_id": image["id"], "category_id": image["category"]}
        for n, image in enumerate(images)
        if "category" in image
    ]
    document = {"info": {"version": "1"}, "images": images, "categories": categories, "annotations": annotations}
    for key, data in files.items():
        store.put(key, data)
    store.put("metadata.json", json.dumps(document).encode())


def coco_settings(archive: str, **changes: Any) -> DataSettings:
    """The dataset of `write_coco`."""
    survey = {"name": "coco", "archive": archive, "source": {"kind": "coco_camera_traps", "metadata": "metadata.json"}}
    return parse(DataSettings, {"name": "coco", "surveys": [survey], "pixels": {"size": 16, "min_side": 4}} | changes)


class Nameless(Split):
    """Rows of which nobody has recorded anything."""

    def told(self, columns: list[str], split: str) -> list[dict[str, Any]]:
        return [row | {"facts": b"{}"} for row in super().told(columns, split)]


def nameless(subject: Subject) -> Subject:
    """The same images, of which nobody has recorded anything."""
    rows = subject.rows
    return replace(subject, rows=Nameless(rows.dataset, rows.reader, rows.item, rows.row))


@dataclass(frozen=True)
class Reads(LocalStore):
    """A local store that counts the bytes read of each key."""

    counted: Counter[str] = field(default_factory=Counter, hash=False, compare=False)

    def read(self, key: str) -> bytes:
        data = super().read(key)
        self.counted[key] += len(data)
        return data

    def read_range(self, key: str, start: int, length: int) -> bytes:
        data = super().read_range(key, start, length)
        self.counted[key] += len(data)
        return data


IN_PROCESS = InProcess()


def prepare(data: DataSettings, root: Store) -> Dataset:
    """The next version of `data`, made in this process."""
    return flow.prepare(data, root, IMAGE, TEXT, workers=IN_PROCESS, lease=2.0)
