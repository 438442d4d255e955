"""`xmodal evaluate` on a survey with events, blanks, new species and incumbents: the figures, and what the page says."""

import json
from collections import defaultdict
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.evaluate.species import named
from pipelines.evaluate.subject import Subject
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.road import document, untrained_run, xmodal
from xmodal.inference import Inference
from xmodal.settings import parse

Figures = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Evaluated:
    recipe: Recipe
    dataset: Dataset
    run: str
    figures: Figures
    page: str

    @property
    def subject(self) -> Subject:
        with opened(self.dataset.store, self.run) as directory:
            model = Inference.load(directory)
        return Subject.of(model, self.dataset, sample_reader(self.recipe, self.dataset), "test")


class Text(HTMLParser):
    """A page's words, style left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.feed(page.partition("</style>")[2])

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def words(page: str) -> str:
    return " ".join(" ".join(Text(page).parts).split())


def evaluated(folder: Path, **data: Any) -> Evaluated:
    """The archive prepared, an untrained model of it evaluated."""
    root = str(folder / "root")
    protocol_survey.write(open_store(f"{root}/archive"))
    changes = {"surveys": [protocol_survey.survey(f"{root}/archive")], "split": protocol_survey.split()} | data
    recipe = parse(Recipe, document(f"{root}/archive", root, data=changes))
    store = recipe.compute.store()
    dataset = flow.prepare(recipe.data, store, recipe.model.image, recipe.model.text, workers=InProcess())
    run = untrained_run(recipe).name
    ended = xmodal("evaluate", run, "--root", root, "--report", folder / "report.html", "--json")
    assert ended.code == 0, ended.err
    figures = {one["name"]: one for one in json.loads(ended.out)}
    return Evaluated(recipe, dataset, run, figures, (folder / "report.html").read_text())


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return evaluated(tmp_path_factory.mktemp("protocol"))

