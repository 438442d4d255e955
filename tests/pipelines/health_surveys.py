"""A small written survey of which every number is known, its recipe, and what the health page says of a recipe."""

from typing import Any

from infra.storage import Store
from pipelines.health import verb
from pipelines.health.content import HealthContent, content
from pipelines.health.gathered import gather
from pipelines.recipe import Recipe
from tests.pipelines.road import document
from tests.pipelines.surveys import coco_settings, write_coco
from tests.pipelines.test_prepare_flow import image
from xmodal.settings import parse

FOX, LYNX, PERSON = 1, 2, 3
NAMES = ("Vulpes vulpes", "Lynx lynx", "human")


def frame(key: str, category: int = FOX, **fields: Any) -> dict[str, Any]:
    """A COCO image row of the place that its folder names."""
    place = f"valley {key.partition('/')[0]}"
    return {"id": key, "file_name": key, "location": place, "category": category} | fields


def write(store: Store, names: tuple[str, ...] = NAMES) -> None:
    """Six places with four foxes each, taken in a month of their own; and at some of them:

    0 a clock at its first date; 1 half an image; 2 a copy of a frame of place 0; 3 a copy of its own; 4 a person, and a
    file that is not there; 5 two lynxes without a licence. Beside these an image that no metadata name, and a text.
    """
    every = [
        frame(f"{place}/{n}.jpg", datetime=f"2024-0{place + 1}-10 12:0{n}:30",
              license="CC BY-NC 4.0" if place < 2 else "CC BY 4.0")
        for place in range(6)
        for n in range(4)
    ]  # fmt: skip
    free = {"license": "CC BY 4.0", "datetime": "2024-06-20 10:00:20"}
    every += [
        frame("0/default.jpg") | free | {"datetime": "2000-01-01 00:00:10"},
        *(frame(f"{name}.jpg") | free for name in ("1/half", "2/copy", "3/same", "4/lost")),
        frame("4/person.jpg", PERSON) | free,
        frame("5/lynx0.jpg", LYNX, datetime="2024-06-21 10:00:20"),
        frame("5/lynx1.jpg", LYNX, datetime="2024-06-22 10:00:20"),
    ]
    files = {one["file_name"]: image(number) + one["id"].encode() for number, one in enumerate(every)}
    del files["4/lost.jpg"]
    files |= {"1/half.jpg": image(250)[:-40], "2/copy.jpg": files["0/0.jpg"], "3/same.jpg": files["3/0.jpg"]}
    write_coco(store, every, files | {"extra.jpg": image(251), "notes.txt": b"notes"}, names)


LISTED, TAKEN = 24 + 8 - 1 + 3, 24 + 6 + 1
"""With the metadata; without person, metadata and text."""


def recipe_of(archive: Store, root: Store, **changes: Any) -> Recipe:
    """Over a survey that `write` wrote; `changes` are of its data settings."""
    data = coco_settings(archive.url, max_bad_share=0.2, **changes).model_dump(mode="json")
    return parse(Recipe, document(archive.url, root.url, data=data))


def health(recipe: Recipe, sample: int = 300, seed: int = 0) -> HealthContent:
    """What the page says."""
    run = verb.listed(recipe)
    return content(recipe, run, gather(run, sample, seed))
