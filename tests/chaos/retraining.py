"""A retraining that dies: before, in and after everything that it stores, with a champion that serves and a challenger
that is better, both trained before."""

import os
import secrets
import shutil
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mlflow.tracking import MlflowClient
from ruamel.yaml import YAML

from infra.registry import Registry
from infra.storage import Store, open_store
from pipelines.recipe import Recipe
from pipelines.retrain.champion import Champion
from pipelines.retrain.flow import at_version, challenging
from tests.chaos.killing import PHASES
from tests.chaos.moments import Place
from tests.chaos.world import Victims
from tests.pipelines.arriving import NAMES, arrive
from tests.pipelines.retraining import complete, recipe_over, tracking, version_of
from xmodal.settings import parse

STORED = {
    "lock": ("create", "/locks/retrain-"),
    "prepare-lock": ("create", "/locks/prepare-"),
    "prepared": ("replace", "/locks/prepare-"),
    "look": ("put", "/look.json$"),
    "trained": ("put", "/trained.json$"),
    "report": ("put", "/report.html$"),
    "answers": ("put", "/answers.parquet$"),
    "gate": ("put", "/gate.json$"),
    "promotion": ("create", "/promotions/"),
    "release": ("replace", "/locks/retrain-"),
}
"""Everything that a retraining stores whose version is prepared and whose challenger is trained; the alias in MLflow is
set between the promotion and the release. tests/chaos/stories.py and moments.py are about the others."""


DATASET = "tiny"


class Stage(NamedTuple):
    """`phase` of storing `what`."""

    what: str
    phase: str

    @property
    def kind(self) -> tuple[str, str]:
        return "retrain", ""

    @property
    def place(self) -> Place:
        return Place(*STORED[self.what], self.phase)

    def __str__(self) -> str:
        return f"retrain-{self.what}-{self.phase}"


def stages() -> list[Stage]:
    """A part of a store that cannot be uploaded in parts is torn alone."""
    return [
        Stage(what, phase) for what, (method, _) in STORED.items() for phase in PHASES[method] if phase != "unfinished"
    ]


class Retraining:
    """Each retraining has a copy of the store, and a model of its own in the registry."""

    def __init__(self, victims: Victims, uri: str, folder: Path) -> None:
        self.victims, self.uri, self.folder = victims, uri, folder

    @cached_property
    def runs(self) -> tuple[str, str]:
        """MLflow's ids of the champion's and the challenger's run, which lie below `folder`."""
        url, model = str(self.folder), f"made-{secrets.token_hex(4)}"
        arrive(open_store(f"{url}/one"), "one", 12, NAMES[:2])
        arrive(open_store(f"{url}/two"), "two", 12, NAMES)
        first, both = (
            parse(Recipe, recipe_over(url, *names, tracking=tracking(self.uri, model)))
            for names in (("one",), ("one", "two"))
        )
        one = version_of(first)
        run, champion = complete(at_version(first, one), one)
        two = version_of(both)
        _, challenger = complete(challenging(both, two, Champion(1, run.name), one), two)
        return champion, challenger

    def fresh(self) -> "Team":
        """A champion, version 1, and the challenger's version 2."""
        ids, name = self.runs, secrets.token_hex(4)
        client, model = MlflowClient(self.uri), f"traps-{name}"
        client.create_registered_model(model)
        for run in ids:
            client.create_model_version(model, f"runs:/{run}/model", run)
        registry = Registry(self.uri, model)
        registry.serve(1)
        root = self.folder / f"root-{name}"
        shutil.copytree(self.folder / "root", root, ignore=shutil.ignore_patterns("locks"))
        changes = {"tracking": tracking(self.uri, model), "compute": {"root": str(root)}}
        recipe = self.folder / f"{name}.yaml"
        with recipe.open("w") as file:
            YAML().dump(recipe_over(str(self.folder), "one", "two", **changes), file)
        return Team(self.victims, registry, open_store(str(root)), recipe)


class Team:
    """A model and its store."""

    def __init__(self, victims: Victims, registry: Registry, root: Store, recipe: Path) -> None:
        self.victims, self.registry, self.root, self.recipe = victims, registry, root, recipe

    def retrain(self, stage: Stage | None = None, marks: Path | None = None) -> int:
        """Exit status; whoever dies at the stage leaves a file in the folder `marks`."""
        report = self.recipe.with_suffix(".html")
        job = {"recipe": str(self.recipe), "report": str(report), "environment": {}, "patience": 0.0}
        dies = {"place": stage.place, "folder": str(marks)} if stage else {}
        return self.victims.run(job | dies)

    def stored(self) -> dict[str, str]:
        """All that is stored, locks apart, by its etag."""
        return {entry.key: entry.etag for entry in self.root.list() if not entry.key.startswith("locks/")}


def died(marks: Path) -> bool:
    return len(os.listdir(marks)) == 1
