"""The claims' rows of a survey and of a captioned set: there, with chance levels, or missing with their reason."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from infra.storage import open_store
from pipelines.evaluate.claims import CLAIMS, Asked, claims
from pipelines.evaluate.flow import report_content
from pipelines.evaluate.subject import Subject
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.report import render
from pipelines.train.plan import build_model, sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.road import document, untrained_run
from xmodal.inference import Inference
from xmodal.metrics import structure
from xmodal.settings import parse


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Recipe]:
    """An untrained model on the protocol survey, with residual attention and a captioner."""
    folder = tmp_path_factory.mktemp("claims")
    root = str(folder / "root")
    archive = f"{root}/archive"
    protocol_survey.write(open_store(archive))
    data = {"surveys": [protocol_survey.survey(archive)], "split": protocol_survey.split()}
    made = document(archive, root, data=data)
    made["model"] |= {"image_enhance": [{"kind": "residual_attention", "heads": 2}]}
    recipe = parse(Recipe, made)
    store = recipe.compute.store()
    dataset = flow.prepare(recipe.data, store, recipe.model.image, recipe.model.text, workers=InProcess())
    with opened(store, untrained_run(recipe).name) as directory:
        model = Inference.load(directory)
    return Subject.of(model, dataset, sample_reader(recipe, dataset), "test"), recipe


def with_history(subject: Subject, *points: dict[str, float]) -> Subject:
    state = subject.model.state | {"history": list(points)}
    return dataclasses.replace(subject, model=dataclasses.replace(subject.model, state=state))


def answered(subject: Subject, name: str) -> Any:
    return CLAIMS[name](Asked(subject))


def test_every_claim_has_rows_or_a_reason(asked: tuple[Subject, Recipe]) -> None:
    group = claims(asked[0])
    for name in CLAIMS:
        rows = [row for row in group.figures if row.label.startswith(f"{name}:")]
        reasons = [line for line in group.missing if line.startswith(f"{name}: ")]
        assert bool(rows) != bool(reasons), name
    assert len({row.name for row in group.figures}) == len(group.figures)
    assert all(np.isfinite(row.value) for row in group.figures)
    assert [line[:2] for line in group.missing] == ["C1"]


def test_the_queue_is_told_as_the_run_logged_it_last(asked: tuple[Subject, Recipe]) -> None:
    early, late = {"queue/leak_image": 0.9, "queue/drift": 0.1}, {"queue/leak_image": 0.6, "momentum/staleness": 0.2}
    rows = answered(with_history(asked[0], {"step": 1, **early}, {"step": 2, **late}), "C1")
    found = {row.name.rpartition("/")[2]: (row.value, row.chance) for row in rows}
    assert found == {"c1_leak_image": (0.6, 0.5), "c1_drift": (0.1, None), "c1_staleness": (0.2, None)}


def test_gates_of_an_untrained_model_are_closed(asked: tuple[Subject, Recipe]) -> None:
    assert [row.value for row in answered(asked[0], "C2")] == [0, 0]


def test_species_rows_are_the_measures(asked: tuple[Subject, Recipe]) -> None:
    subject = asked[0]
    points, labels, _ = Asked(subject).species
    (nmi,) = [row for row in answered(subject, "C3") if row.name.endswith("nmi")]
    assert (nmi.value, nmi.chance) == structure.nmi(points, labels) and nmi.n == len(labels)
    knn, probe = answered(subject, "C8")
    assert 0 < knn.chance == probe.chance <= 50 and knn.n == probe.n > 0


def test_the_cycle_is_counted_image_by_image(asked: tuple[Subject, Recipe]) -> None:
    subject = asked[0]
    rows, texts = subject.written
    both = (subject.model.text_vectors(texts), subject.gallery.images[rows])
    written, images = (one.double().numpy() for one in both)
    nearest = [max(range(len(rows)), key=lambda n, one=one: float(images[n] @ one)) for one in written]
    taxa = [subject.records[n]["taxon"] for n in rows if subject.records[n]["taxon_rank"] == "species"]
    cycle, same = answered(subject, "C7")
    assert cycle.value == pytest.approx(100 * np.mean([n == found for n, found in enumerate(nearest)]))
    assert cycle.chance == pytest.approx(100 / len(rows)) and same.n == len(taxa)


def test_what_is_lacking_is_told(asked: tuple[Subject, Recipe]) -> None:
    """No species in training or test, no captioner, no residual attention."""
    subject, recipe = asked
    nobody = [record | {"taxon_rank": None} for record in subject.records]
    towers = {side: getattr(recipe.model, side).model_dump() for side in ("image", "text")}
    bare = parse(Recipe, recipe.model_dump() | {"model": towers})
    model = dataclasses.replace(subject.model, network=build_model(bare, subject.dataset).eval())
    embedded = dataclasses.replace(subject.embedded, records=nobody)
    without = dataclasses.replace(subject, model=model, embedded=embedded, train=subject.train.slice(0, 0))
    reasons = {name: answered(without, name) for name in ("C1", "C2", "C3", "C5", "C7")}
    assert all(isinstance(reason, str) and "\n" not in reason for reason in reasons.values()), reasons


def test_page_and_table_hold_rows_and_reasons(asked: tuple[Subject, Recipe]) -> None:
    page = render(report_content(asked[0], asked[1]))
    assert "Claims C1 to C8" in page and "C8: species right by linear probe" in page
    assert "Not measurable here: C1: " in page
