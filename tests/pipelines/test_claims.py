"""The claims' rows of a survey and of a captioned set: there, with chance levels, or missing with their reason."""

import dataclasses
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from infra.storage import open_store
from pipelines.evaluate.claims import CLAIMS, Asked, claims
from pipelines.evaluate.flow import report_content
from pipelines.evaluate.stored import stored
from pipelines.evaluate.subject import Subject
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.report import render
from pipelines.train.lanes import ReadLane
from pipelines.train.order import WorkItem
from pipelines.train.plan import TrainingPlan, build_model, sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.road import document, untrained_run
from xmodal.batch import Batch
from xmodal.encodings import Encodings
from xmodal.inference import Inference
from xmodal.metrics import structure
from xmodal.metrics.classification import RANKS
from xmodal.model import CrossModalModel
from xmodal.queue import Keys
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


def test_stored_keys_beside_the_same_images_now(asked: tuple[Subject, Recipe]) -> None:
    """Keys of real training batches, random changes included: nothing has moved; turned round by hand, all has."""
    subject, recipe = asked
    network, plan, filled = subject.model.network, TrainingPlan.of(recipe, subject.dataset), 0
    reader = ReadLane(plan.lanes())
    for step in (0, plan.order.batches):  # the same images twice, changed otherwise in the second epoch
        epoch, number = divmod(step, plan.order.batches)
        for lane in range(plan.order.lanes):
            rows = plan.reader.batch(reader.block(WorkItem(epoch, number, 1, lane)), step)
            network.queue.push(encoded(network, rows), step)
            filled += int(rows.valid.sum())
    found = stored(subject)
    assert len(found.steps) == filled and (found.keys - found.now).abs().max() < 1e-5
    rows = {row.name.rpartition("/")[2]: row for row in answered(subject, "C1")}
    assert rows["c1_drift"].value < 1e-9 and rows["c1_jaccard"].value == 1 > rows["c1_jaccard"].chance
    assert rows["c1_leak_image"].value == pytest.approx(rows["c1_leak_control"].value, abs=1e-6)
    assert rows["c1_cka"].value == pytest.approx(1, abs=1e-6) and 0 < rows["c1_cka"].chance < 1
    stepwise = network.queue.step_written[network.queue.valid] > 0
    near, far = (subject.gallery.images.double() @ network.queue.ordered()[0].text[one].double().T
                 for one in (stepwise, ~stepwise))  # fmt: skip
    assert rows["c1_age_slope"].value == pytest.approx(float(far.mean() - near.mean()) / plan.order.batches, abs=1e-9)
    network.queue.keys.image.neg_()
    assert {row.name[-8:]: row.value for row in answered(subject, "C1")}["c1_drift"] == pytest.approx(2, abs=1e-5)
    network.queue.clear()


def encoded(network: CrossModalModel, batch: Batch) -> Keys:
    with torch.no_grad():
        return Encodings(batch, network.query, network.key.encoder, network.queue, network.temperature).keys


def test_gates_of_an_untrained_model_are_closed(asked: tuple[Subject, Recipe]) -> None:
    assert [row.value for row in answered(asked[0], "C2")] == [0, 0]


def test_species_rows_are_the_measures(asked: tuple[Subject, Recipe]) -> None:
    subject = asked[0]
    points, labels, _ = Asked(subject).species
    (nmi,) = [row for row in answered(subject, "C3") if row.name.endswith("nmi")]
    assert (nmi.value, nmi.chance) == structure.nmi(points, labels) and nmi.n == len(labels)
    knn, probe = answered(subject, "C8")
    assert 0 < knn.chance == probe.chance <= 50 and knn.n == probe.n > 0


def test_the_interval_of_a_correlation_is_one_of_correlations(asked: tuple[Subject, Recipe]) -> None:
    (found,) = answered(asked[0], "C5")
    assert found.low is not None and found.high is not None
    assert -1 < found.low < found.value < found.high < 1


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


def test_species_without_a_lineage_are_told_and_do_not_stop_the_evaluation(asked: tuple[Subject, Recipe]) -> None:
    """Archives that name species alone, as many COCO Camera Traps sets do."""
    subject = asked[0]
    alone = [json.dumps(_without_ranks(json.loads(one))).encode() for one in subject.train["facts"].to_pylist()]
    place = subject.train.schema.get_field_index("facts")
    train = subject.train.set_column(place, "facts", pa.array(alone, pa.binary()))
    found = answered(dataclasses.replace(subject, train=train), "C5")
    assert found == "0 test species have a whole lineage: too few, or all equally far apart"


def _without_ranks(facts: dict[str, Any]) -> dict[str, Any]:
    for name in RANKS[1:]:
        (facts.get("taxon") or {}).get("lineage", {}).pop(name, None)
    return facts


def test_page_and_table_hold_rows_and_reasons(asked: tuple[Subject, Recipe]) -> None:
    content = report_content(asked[0], asked[1])
    for group in content.measures.groups:
        titles = [figure.title for figure in group.figures]
        assert len(titles) == len(set(titles)), titles
    page = render(content)
    assert "Claims C1 to C8" in page and "C8: species right by linear probe" in page
    assert "Not measurable here: C1: " in page
