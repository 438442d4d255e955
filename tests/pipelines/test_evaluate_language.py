"""A model whose texts were written in Spanish is asked in Spanish, wherever it is asked for species and blanks."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from infra.storage import open_store
from pipelines.evaluate import distractors, wordings
from pipelines.evaluate.protocol import protocol
from pipelines.evaluate.settings import EvaluationSettings
from pipelines.evaluate.subject import Subject
from pipelines.predict import Predictor
from pipelines.prepare import flow
from pipelines.prepare.language import language
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.taxa import asked_in, species_texts, unheard_texts
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.labels import frame, label, observation
from tests.pipelines.road import document, untrained_run
from tests.pipelines.test_evaluate_distractors import ROWS, write
from xmodal.inference import Inference
from xmodal.settings import parse


@dataclass(frozen=True)
class Listening(Inference):
    """A model that notes what it is asked."""

    heard: list[str] = field(default_factory=list)

    def text_vectors(self, texts: list[str], batch: int = 256) -> Tensor:
        self.heard.extend(texts)
        return super().text_vectors(texts, batch)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """An untrained model on the protocol survey, with texts in Spanish alone."""
    root = str(tmp_path_factory.mktemp("language") / "root")
    archive = f"{root}/archive"
    protocol_survey.write(open_store(archive))
    data = {"surveys": [protocol_survey.survey(archive)], "split": protocol_survey.split()}
    data |= {"captions": {"languages": ["spa"], "blank_share": 1.0}}
    recipe = parse(Recipe, document(archive, root, data=data))
    store = recipe.compute.store()
    dataset = flow.prepare(recipe.data, store, recipe.model.image, recipe.model.text, workers=InProcess())
    with opened(store, untrained_run(recipe).name) as directory:
        model = Listening.load(directory)
    return Subject.of(model, dataset, sample_reader(recipe, dataset), "test")


def heard(subject: Subject) -> list[str]:
    """What the model was asked since this was last called."""
    model = subject.model
    assert isinstance(model, Listening)
    found = model.heard.copy()
    model.heard.clear()
    return found


def spanish(text: str, *kinds: str) -> bool:
    forms = [one for kind in kinds for one in language("spa").words[kind]]
    return any(re.fullmatch(re.escape(one).replace(r"\{subject\}", ".+"), text) for one in forms)


def test_every_section_asks_in_the_language_of_the_texts(subject: Subject) -> None:
    """Trained and new species and blanks; the first wording of each trained species is one that training read."""
    heard(subject)
    protocol(subject)
    texts = heard(subject)
    assert texts and all(spanish(one, "frames", "blank") for one in texts)
    assert set(language("spa").words["blank"]) <= set(texts)
    taught = {one["text"] for text in subject.train["captions"].to_pylist() for one in json.loads(text)}
    assert {species_texts(taxon, subject.language)[0] for taxon in subject.train_taxa.values()} <= taught & set(texts)


def test_a_list_of_species_and_held_out_wordings_too(subject: Subject, tmp_path: Path) -> None:
    heard(subject)
    distractors.groups(subject, EvaluationSettings(gallery=write(tmp_path / "list.csv", *ROWS)))
    assert all(spanish(one, "frames") for one in heard(subject))
    wordings.figures(subject, "test/claims")
    texts = heard(subject)
    assert sum(spanish(one, "held_out") for one in texts) == len(texts) / 2 > 0
    assert all(spanish(one, "frames", "held_out") for one in texts)


def test_predict_asks_in_it_by_the_checkpoint_alone(subject: Subject, tmp_path: Path) -> None:
    shot = protocol_survey.shots()[0]
    (tmp_path / "a.jpg").write_bytes(protocol_survey.picture(shot))
    heard(subject)
    (row,) = Predictor(subject.model).rows("classify", [tmp_path / "a.jpg"])
    assert len(row["species"]) == len(subject.train_taxa) and all(spanish(one, "frames") for one in heard(subject))


@pytest.mark.parametrize(
    ("captions", "code"),
    [
        ({}, "eng"),
        ({"captions": {}}, "eng"),
        ({"captions": {"languages": ["spa", "eng"]}}, "eng"),
        ({"captions": {"languages": ["spa", "fra"]}}, "spa"),
    ],
)
def test_english_is_asked_where_it_is_one_of_the_languages(captions: dict[str, Any], code: str) -> None:
    assert asked_in({"data": {"name": "any"} | captions}) == code


def test_a_name_in_another_language_stands_where_there_is_none_else() -> None:
    """A scientific name stands in every language; an archive's own name in that language goes before its others."""
    fox = label("Vulpes vulpes", "species", eng="red fox")
    both, alone = label(None, None, eng="red fox", spa="zorro"), label(None, None, eng="red fox")
    assert species_texts(_fact(fox), "spa")[0] == "imagen de cámara trampa: Vulpes vulpes"
    assert species_texts(_fact(both), "spa")[0] == "imagen de cámara trampa: zorro"
    assert unheard_texts(_fact(both), "spa")[0] == "foto activada por movimiento: zorro"
    assert species_texts(_fact(alone), "spa") == species_texts(_fact(alone), "eng")


def _fact(of: dict[str, Any]) -> dict[str, Any]:
    return frame(observation(of))["taxon"]
