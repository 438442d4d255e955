"""The claims' rows of a survey and of a captioned set: there, with chance levels, or missing with their reason."""

import dataclasses
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from infra.storage import open_store
from pipelines.evaluate.claims import CLAIMS, Asked, claims
from pipelines.evaluate.flow import report_content
from pipelines.evaluate.stored import stored
from pipelines.evaluate.subject import Subject
from pipelines.gallery import gallery
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.report import render
from pipelines.taxa import species_texts, unheard_texts
from pipelines.train.lanes import ReadLane
from pipelines.train.order import WorkItem
from pipelines.train.plan import TrainingPlan, build_model, sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.road import document, untrained_run
from tests.pipelines.surveys import nameless
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
    torch.manual_seed(0)
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
    by_step: dict[bool, list[float]] = {True: [], False: []}
    keys, steps = network.queue.ordered()
    for image, recorded in zip(subject.gallery.images.double(), subject.gallery.image_codes.tolist(), strict=True):
        for text, said, step in zip(keys.text.double(), keys.text_codes.tolist(), steps.tolist(), strict=True):
            if any(a >= 0 and b >= 0 and a != b for a, b in zip(said, recorded, strict=True)):
                by_step[step > 0].append(float(image @ text))
    near, far = np.mean(by_step[True]), np.mean(by_step[False])
    slope = rows["c1_age_slope"]
    assert slope.value == pytest.approx((far - near) / plan.order.batches, abs=1e-9)
    assert slope.n == sum(map(len, by_step.values())) < len(keys) * len(subject.gallery.images), "negatives alone"
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
    found = answered(asked[0], "C5")[0]
    assert found.low is not None and found.high is not None
    assert -1 < found.low < found.value < found.high < 1


def test_relatives_are_found_rank_by_rank(asked: tuple[Subject, Recipe]) -> None:
    """MAP@R of images by images, a loop over their lineages; chance is a draw at random."""
    subject = asked[0]
    points, labels, _ = Asked(subject).species
    named = Asked(subject).named
    assert named is not None
    similar = points.numpy() @ points.numpy().T
    rows = {row.name.rpartition("_")[2]: row for row in answered(subject, "C5")[1:]}
    for rank, row in rows.items():
        taxa, values = [named.lineages.get(one, {}).get(rank) for one in labels], []
        for n, taxon in enumerate(taxa):
            order = sorted((m for m in range(len(taxa)) if m != n), key=lambda m, n=n: -float(similar[n, m]))
            right = [taxa[m] == taxon for m in order if taxa[m] is not None]
            if taxon is not None and any(right):
                precise = [sum(right[: k + 1]) / (k + 1) for k in range(sum(right)) if right[k]]
                values.append(sum(precise) / sum(right))
        assert row.value == pytest.approx(100 * np.mean(values), abs=0.5) and row.n == len(values)
        assert row.chance is not None and 0 < row.chance <= 100
    assert "genus" in rows or "family" in rows or "order" in rows


def test_wordings_that_training_never_read(asked: tuple[Subject, Recipe]) -> None:
    """MAP@R of a search by each wording, a loop; no training text is in a held-out wording."""
    subject = asked[0]
    rows = {row.name.rpartition("/")[2]: row for row in answered(subject, "C6")}
    names = sorted(set(subject.train_taxa) & set().union(*subject.shown))
    taught = {one["text"] for text in subject.train["captions"].to_pylist() for one in json.loads(text)}
    images, values = subject.gallery.images.numpy(), []
    for name in names:
        texts = unheard_texts(subject.train_taxa[name], "eng")
        assert not taught & set(texts) and taught & set(species_texts(subject.train_taxa[name], "eng")[: len(texts)])
        for vector in subject.model.text_vectors(texts).numpy():
            right = [name in subject.shown[n] for n in np.argsort(-(images @ vector), kind="stable")]
            values.append(sum(sum(right[: k + 1]) / (k + 1) for k in range(sum(right)) if right[k]) / sum(right))
    unread, read, fall = rows["c6_map_unread"], rows["c6_map_read"], rows["c6_fall"]
    assert unread.value == pytest.approx(100 * np.mean(values), abs=0.5) and unread.n == len(names)
    assert fall.value == pytest.approx(read.value - unread.value) and fall.chance == 0
    assert unread.chance == read.chance and 0 < rows["c6_wording_variance"].value < 1


def repeated(subject: Subject, count: int) -> Subject:
    """The subject with its images again and again, up to `count`, each and its texts a little moved."""
    images, texts = torch.cat(subject.embedded.images), torch.cat(subject.embedded.texts)
    owners = [len(one) for one in subject.embedded.captions]
    starts = np.concatenate([[0], np.cumsum(owners)])
    pick = [n % len(images) for n in range(count)]
    rows = torch.cat([torch.arange(starts[n], starts[n + 1]) for n in pick])
    near, far = (_moved(one, number) for number, one in enumerate((images[pick], texts[rows])))
    records = [subject.embedded.records[n] for n in pick]
    captions = [
        [one | {"text": f"{one['text']} {place}"} for one in subject.embedded.captions[n]]
        for place, n in enumerate(pick)
    ]
    embedded = dataclasses.replace(subject.embedded, images=[near], texts=[far], records=records, captions=captions)
    return dataclasses.replace(subject, embedded=embedded, gallery=gallery(embedded, subject.rows.reader.attributes))


def _moved(points: Tensor, seed: int) -> Tensor:
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(points + 0.3 * noise / points.shape[1] ** 0.5, dim=1)


def test_the_bound_at_1024_pairs_is_its_formula(asked: tuple[Subject, Recipe]) -> None:
    """One set of 1,024: log N + log softmax of the own text, at the temperature that validation fits; chance is 0."""
    subject = repeated(asked[0], 1024)
    images, texts, _ = Asked(subject).pairs
    assert len(images) == 1024
    (row,) = [row for row in answered(subject, "C3") if row.name.endswith("c3_i_nce_1024")]
    logits = images.double().numpy() @ texts.double().numpy().T / subject.temperature
    top = logits.max(1, keepdims=True)
    own = np.diag(logits) - (top[:, 0] + np.log(np.exp(logits - top).sum(1)))
    assert row.value == pytest.approx(np.log(1024) + own.mean(), abs=1e-4) and row.n == 1024
    assert row.chance == 0 and row.value <= np.log(1024) and "at most 6.93" in row.note


def test_modalities_are_told_apart_by_a_linear_probe(asked: tuple[Subject, Recipe]) -> None:
    """C4: ridge regression onto the label, each half scored by the other; pairs in the right order are counted."""
    images, texts, _ = Asked(asked[0]).pairs
    points, label = torch.cat([images, texts]).double().numpy(), np.arange(2 * len(images)) < len(images)
    found = []
    for fold in (0, 1):
        held = np.arange(len(points)) % 2 == fold
        x, y = points[~held], label[~held].astype(float)
        centred = x - x.mean(0)
        covariance = centred.T @ centred / len(x)
        strength = 1e-2 * np.diag(covariance).mean() + 1e-12
        weights = np.linalg.solve(covariance + strength * np.eye(x.shape[1]), centred.T @ (y - y.mean()) / len(x))
        scores = points[held] @ weights
        better = [float(a > b) + 0.5 * float(a == b) for a in scores[label[held]] for b in scores[~label[held]]]
        found.append(np.mean(better))
    (row,) = answered(asked[0], "C4")
    assert row.value == pytest.approx(np.mean(found), abs=1e-6) and row.chance == 0.5 and row.value > 0.6


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
    towers = {side: getattr(recipe.model, side).model_dump() for side in ("image", "text")}
    bare = parse(Recipe, recipe.model_dump() | {"model": towers})
    model = dataclasses.replace(subject.model, network=build_model(bare, subject.dataset).eval())
    without = dataclasses.replace(nameless(subject), model=model, train=subject.train.slice(0, 0))
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
