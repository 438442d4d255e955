"""`xmodal seen`: was this file, or this place, trained on? Asked of a model's card alone."""

import json
from collections.abc import Iterator
from pathlib import Path

from infra.storage import open_store
from pipelines.card import TRAINED_ON, TrainedOn
from pipelines.errors import NotFound
from pipelines.predict import image_files
from xmodal.settings import SettingsError

ANSWER = {True: "trained on", False: "not trained on"}


def seen(images: tuple[Path, ...], places: tuple[str, ...], card: str, as_json: bool) -> Iterator[str]:
    """A line an image, files of folders included, and a line a place (SURVEY/NAME), as they are asked for.

    `card` is the folder or URL of a card. Raises NotFound where it is none, SettingsError where nothing is asked for or
    a place has no survey.
    """
    if not images and not places:
        raise SettingsError("seen: name images, folders of them, or a place by --place SURVEY/PLACE")
    pairs = [(place, *_named(place)) for place in places]
    store = open_store(card)
    if store.head(TRAINED_ON) is None:
        raise NotFound(f"{store.url}: no {TRAINED_ON} here; `xmodal evaluate RUN --card FOLDER` writes a card")
    known = TrainedOn.from_bytes(store.read(TRAINED_ON))
    if images and not known.images:
        raise NotFound(f"{store.url}: this model was trained on features whose image files are not known")
    for file in image_files(images):
        yield _line("file", str(file), known.image(file), as_json)
    for place, survey, name in pairs:
        yield _line("place", place, known.place(survey, name), as_json)


def _named(place: str) -> tuple[str, str]:
    survey, cut, name = place.partition("/")
    if not cut or not survey or not name:
        raise SettingsError(f"--place {place}: write SURVEY/PLACE, the survey's name in the recipe and the place's own")
    return survey, name


def _line(kind: str, asked: str, found: bool, as_json: bool) -> str:
    return json.dumps({kind: asked, "trained_on": found}) if as_json else f"{ANSWER[found]:<14}  {asked}"
