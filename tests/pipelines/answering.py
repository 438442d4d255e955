"""A small model that has learnt the protocol survey, trained in this process, and evaluated: what predictions need."""

from dataclasses import dataclass
from pathlib import Path

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan
from tests.pipelines import protocol_survey
from tests.pipelines.road import Ended, document, run_of, stepped, xmodal
from xmodal.settings import parse

PLACES = 30


@dataclass(frozen=True)
class Answering:
    root: str
    archive: Store
    recipe: Recipe
    dataset: Dataset
    run: str
    evaluated: Ended

    def classify(self, *words: str | Path) -> Ended:
        """`predict classify` with this run."""
        return xmodal("predict", "classify", self.run, "--root", self.root, *words)


def answering(folder: Path, steps: int = 80) -> Answering:
    """Frames at 30 places of four species and of nothing."""
    root = str(folder / "root")
    archive = f"{root}/archive"
    protocol_survey.write(open_store(archive), PLACES)
    split = protocol_survey.split() | {"val": 0.4, "cis_test": 0}
    data = {"surveys": [protocol_survey.survey(archive)], "split": split}
    model = {"tasks": {"itm": {"weight": 0}, "lm": {"weight": 0}}}
    train = {"global_batch": 32, "optimizer": {"learning_rate": 3e-3}, "epochs": 60}
    recipe = parse(Recipe, document(archive, root, data=data, train=train, model=model, tracking={"uri": ""}))
    store = recipe.compute.store()
    dataset = flow.prepare(recipe.data, store, recipe.model.image, recipe.model.text, workers=InProcess())
    trained, _, _ = stepped(recipe, TrainingPlan.of(recipe, dataset), steps)
    run = run_of(recipe, trained, "answering-0000-0").name
    ended = xmodal("evaluate", run, "--root", root, "--report", folder / "report.html", "--json")
    assert ended.code == 0, ended.err
    return Answering(root, open_store(archive), recipe, dataset, run, ended)
