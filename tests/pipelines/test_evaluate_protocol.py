"""`xmodal evaluate` on a survey with events, blanks, new species and incumbents: the figures, and the page's words."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import f1_score

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.evaluate.blanks import blank_misses, blanks
from pipelines.evaluate.heldout import held_out
from pipelines.evaluate.incumbents import beside as beside_machine
from pipelines.evaluate.incumbents import incumbents
from pipelines.evaluate.protocol import lacking, protocol
from pipelines.evaluate.retrieval import retrieval
from pipelines.evaluate.species import Named, named
from pipelines.evaluate.subject import Subject
from pipelines.evaluate.transfer import places
from pipelines.evaluate.verdicts import WHAT
from pipelines.gallery import Embedded, Split, gallery
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.report import formats
from pipelines.report.content import Conditions, FigureGroup
from pipelines.report.verdict import beside
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.health_surveys import frame
from tests.pipelines.road import document, untrained_run, xmodal
from tests.pipelines.surveys import coco_settings, write_coco
from tests.pipelines.test_prepare_flow import image
from xmodal.inference import Inference
from xmodal.metrics.baselines import most_frequent
from xmodal.metrics.calibration import ece, softmax
from xmodal.metrics.figure import Figure
from xmodal.metrics.retrieval import dots, precisions
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
    archive = f"{folder / 'root'}/archive"
    protocol_survey.write(open_store(archive))
    return evaluated_as(folder, {"surveys": [protocol_survey.survey(archive)], "split": protocol_survey.split()} | data)


def evaluated_as(folder: Path, changes: dict[str, Any]) -> Evaluated:
    """The same of whatever archive stands below `folder`."""
    root = str(folder / "root")
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


def shown(survey: Evaluated, *names: str) -> None:
    """Asserts that the page shows value and interval of these figures as numbers are written there."""
    text = words(survey.page)
    for name in names:
        one = Figure(**survey.figures[name])
        assert " ".join(formats.number(one.value, one.unit).split()) in text, name
        assert " ".join(formats.span(one).split()) in text, name


TEST = [shot for shot in protocol_survey.shots() if shot.place < protocol_survey.TEST_PLACES]


def test_events_pool_their_frames_and_stand_beside_the_place_only_baseline(survey: Evaluated) -> None:
    subject = survey.subject
    found = named(subject)
    assert found is not None
    shares = softmax(found.similarities, subject.confidence_temperature)
    frames = defaultdict(list)
    for n, record in enumerate(subject.records):
        frames[record["event_id"]].append(n)
    for how, reduce in (("max", np.max), ("mean", np.mean)):
        truth, answers = [], []
        for own in frames.values():
            species = {subject.records[n]["taxon"] for n in own if subject.records[n]["taxon_rank"] == "species"}
            if len(species) == 1 and species <= set(found.candidates):
                truth += species
                answers.append(found.candidates[reduce(shares[own], axis=0).argmax()])
        assert survey.figures[f"test/events/{how}/micro_f1"]["n"] == len(truth) == 24
        expected = f1_score(truth, answers, labels=sorted(set(truth)), average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
        assert survey.figures[f"test/events/{how}/macro_f1"]["value"] == pytest.approx(100 * expected)
        assert survey.figures[f"test/events/{how}/micro_f1"]["value"] == pytest.approx(
            100 * np.mean([a == b for a, b in zip(truth, answers, strict=True)])
        )
    assert survey.figures["test/events/max/macro_f1"]["baseline"] is not None
    shown(survey, "test/events/max/macro_f1", "test/events/mean/micro_f1")
    assert "24 events of 48 frames" in words(survey.page)
    assert "Events left out: 6 of a species that was not trained on, 6 without a species." in words(survey.page)


def test_images_found_for_a_text_are_ranked_near_kin_first(survey: Evaluated) -> None:
    """P@k and nDCG by hand: the order of each query's images by a stable sort, ties being none."""
    found = survey.subject.gallery
    scores, right = (found.texts @ found.images.T).numpy(), found.relevant_images()(slice(None)).numpy()
    order = (-scores).argsort(1, kind="stable")
    ranked = np.take_along_axis(right, order, 1)
    for k in (5, 10):
        figure = survey.figures[f"test/t2i/p{k}"]
        assert figure["value"] == pytest.approx(100 * ranked[:, :k].mean())
        assert figure["chance"] == pytest.approx(100 * right.mean()) and figure["low"] is not None
        assert survey.figures[f"test/i2t/p{k}"]["n"] == len(found.images)
    ladders = {name: (name, name.split()[0], family, order, "Mammalia")
               for name, (order, family) in protocol_survey.SPECIES.items()}  # fmt: skip
    frames = [ladders.get(record["taxon"], ()) for record in survey.subject.records]
    names = [next((one for one in ladders if one in text), None) for text in found.captions]
    discounts = 1 / np.log2(np.arange(2, len(frames) + 2))
    ndcg = []
    for query, name in enumerate(names):
        if name:
            steps = [next((n for n in range(5) if own and own[n] == ladders[name][n]), 5) for own in frames]
            gains = 1 - np.array(steps) / 5
            ndcg.append(gains[order[query]] @ discounts / (np.sort(gains)[::-1] @ discounts))
    figure = survey.figures["test/t2i/ndcg"]
    assert figure["n"] == len(ndcg) < len(names) and figure["value"] == pytest.approx(100 * np.mean(ndcg))
    assert 0 < figure["chance"] < 100 and figure["low"] <= figure["value"] <= figure["high"]
    assert f"{len(names) - len(ndcg)} texts that name no species" in figure["note"]
    shown(survey, "test/t2i/p5", "test/i2t/p10", "test/t2i/ndcg")


def test_a_text_is_resampled_with_every_place_that_has_it(survey: Evaluated) -> None:
    """Places drawn one by one: at each a text has the weight of the images with it there, of all images with it."""
    subject = survey.subject
    found, places = subject.gallery, [record["place"] for record in subject.records]
    precise = precisions(dots(found.texts, found.images), found.relevant_images(), len(found.texts)).map_at_r
    names = sorted(set(places))
    having = np.array([[sum(text in {one["text"] for one in captions} for captions, at in
                            zip(subject.embedded.captions, places, strict=True) if at == place) for place in names]
                       for text in found.captions])  # fmt: skip
    shares = having / having.sum(1, keepdims=True)
    assert (shares < 1).all(1).any(), "a text of several places"
    means = []
    for drawn in np.random.default_rng(0).integers(0, len(names), (2000, len(names))):
        weight = shares[:, drawn].sum(1)
        means.append((weight * precise).sum() / weight.sum())
    figure = survey.figures["test/t2i/map_at_r"]
    assert figure["value"] == pytest.approx(100 * precise.mean()), "each text counts the same"
    assert [figure["low"], figure["high"]] == pytest.approx(100 * np.quantile(means, [0.025, 0.975]))


def test_the_order_of_storage_changes_no_interval(survey: Evaluated) -> None:
    subject = survey.subject
    turned = replace(subject.rows, item=subject.rows.item[::-1], row=subject.rows.row[::-1])
    embedded = subject.embedded
    counts = [len(captions) for captions in embedded.captions]
    texts = [part for one in reversed(torch.cat(embedded.texts).split(counts)) for part in one.split(1)]
    again = Embedded([torch.cat(embedded.images).flip(0)], texts, embedded.records[::-1], embedded.captions[::-1])
    other = replace(subject, rows=turned, embedded=again, gallery=gallery(again, subject.rows.reader.attributes))
    rows = {row.name: row for group in retrieval(other) for row in group.figures}
    for name in ("r1", "r10", "median_rank", "map_at_r", "r_precision", "p5", "ndcg"):
        before, after = survey.figures[f"test/t2i/{name}"], rows[f"test/t2i/{name}"]
        assert (after.low, after.value, after.high) == pytest.approx(
            (before["low"], before["value"], before["high"]), abs=1e-6
        ), name
    assert (rows["test/rsum"].low, rows["test/rsum"].high) == pytest.approx(
        (survey.figures["test/rsum"]["low"], survey.figures["test/rsum"]["high"])
    )


def test_without_known_ranks_there_is_no_distance_and_the_page_says_why(tmp_path: Path) -> None:
    archive = open_store(str(tmp_path / "root/archive"))
    every = [frame(f"{place}/{n}.jpg", 1 + n % 2) for place in range(9) for n in range(4)]
    write_coco(archive, every, {one["file_name"]: image(n) for n, one in enumerate(every)}, ("red fox", "bobcat"))
    data = coco_settings(archive.url).model_dump(mode="json")
    found = evaluated_as(tmp_path, {"surveys": data["surveys"], "pixels": {"size": 32, "min_side": 4}})
    assert "test/t2i/p5" in found.figures and "test/t2i/ndcg" not in found.figures
    text = words(found.page)
    assert "nDCG by taxonomic distance: no text names a species whose genus, family" in text
    assert not [name for name in found.figures if name.endswith(("/genus", "lca_distance", "mistake_severity"))]
    assert "measurable here: right at the rank of species, genus, family, order, class: no image that is" in text
    assert "rank steps to the answer: no image that is asked is labelled with a name at every rank" in text
    assert "test/places/worst_tenth" not in found.figures
    assert "worst tenth of the places: fewer than two places have 5 images that are asked" in text


def test_every_figure_of_species_that_is_not_there_has_its_reason(survey: Evaluated) -> None:
    subject = survey.subject
    sections = protocol(subject)
    assert lacking(subject, sections) == [], "all are there"
    unfitted = replace(subject, validation_species=[None] * len(subject.validation_species))
    rows = [row for row in sections["conditions"].figures if not row.name.endswith("heldout/genus")]
    alone = Conditions([FigureGroup("Conditions", rows)])
    (group,) = lacking(unfitted, protocol(unfitted) | {"conditions": alone})
    scaled, kin = group.missing
    assert scaled.startswith("calibration error after temperature scaling: no validation image shows a species")
    assert kin.startswith("new species given a trained one of their genus: no trained species")


def test_speciesnet_is_measured_on_frames_that_people_named(survey: Evaluated) -> None:
    own = [shot for shot in TEST if shot.species and shot.seen_by_people]
    right = [shot for shot in own if shot.number % 5 and shot.number % 7]
    right += [shot for shot in own if shot.number % 5 and shot.number % 7 == 0 and shot.species == "Sus scrofa"]
    family = {name: protocol_survey.SPECIES[name][1] for name in protocol_survey.SPECIES}
    at_family = [
        shot for shot in own if shot.number % 5 == 0 or shot in right or family.get(shot.species or "") == "Suidae"
    ]
    every = survey.figures["test/speciesnet/incumbent/all/micro"]
    assert every["n"] == len(own) == 58 and every["value"] == pytest.approx(100 * len(right) / 58)
    assert survey.figures["test/speciesnet/incumbent/family"]["value"] == pytest.approx(100 * len(at_family) / 58)
    assert survey.figures["test/speciesnet/incumbent/trained/micro"]["n"] == 58 - 12
    for key in ("all/micro", "all/macro", "trained/micro", "genus", "class"):
        model, other, ahead = (
            survey.figures[f"test/speciesnet/{who}/{key}"] for who in ("model", "incumbent", "ahead")
        )
        assert ahead["value"] == pytest.approx(model["value"] - other["value"]) and ahead["unit"] == "points"
        assert model["n"] == other["n"] == ahead["n"]
    ahead = Figure(**survey.figures["test/speciesnet/ahead/all/micro"])
    assert " ".join(beside(ahead, "SpeciesNet", "naming the species").split()) in words(survey.page)
    shown(
        survey, "test/speciesnet/incumbent/all/micro", "test/speciesnet/model/all/macro", "test/speciesnet/ahead/family"
    )


def test_megadetector_is_measured_on_animals_and_blanks(survey: Evaluated) -> None:
    animals = [shot for shot in TEST if shot.species and shot.seen_by_people]
    empty = [shot for shot in TEST if not shot.species]
    missed, kept = (
        survey.figures[f"test/megadetector/blank/incumbent/{name}"] for name in ("animals_missed", "blanks_kept")
    )
    found = [protocol_survey.detected(shot) for shot in animals]
    assert missed["n"] == 58 and missed["value"] == pytest.approx(100 * (1 - np.mean(found)))
    assert kept["n"] == 12 and kept["value"] == pytest.approx(
        100 * np.mean([protocol_survey.detected(shot) for shot in empty])
    )
    model, other = (survey.figures[f"test/megadetector/blank/{who}/balanced"] for who in ("model", "incumbent"))
    assert other["value"] == pytest.approx(100 - (missed["value"] + kept["value"]) / 2) and other["chance"] == 50
    ahead = Figure(**survey.figures["test/megadetector/blank/ahead"])
    assert ahead.value == pytest.approx(model["value"] - other["value"])
    assert " ".join(beside(ahead, "MegaDetector", "telling animals from blanks").split()) in words(survey.page)


class Hesitant(Split):
    """Rows of which SpeciesNet cannot say what it took for a boar."""

    def told(self, columns: list[str], split: str) -> list[dict[str, Any]]:
        found = super().told([*columns, "incumbents"], split)
        return [row | {"incumbents": json.dumps([_unsure(one) for one in json.loads(row["incumbents"])])}
                for row in found]  # fmt: skip


def _unsure(entry: dict[str, Any]) -> dict[str, Any]:
    boar = entry["origin"] == "speciesnet" and entry["taxon"] == "Sus scrofa"
    return entry | {"type": "unknown", "taxon": None, "rank": None, "lineage": {}} if boar else entry


def test_a_frame_without_a_verdict_is_left_out_for_both(survey: Evaluated) -> None:
    """The boars that SpeciesNet saw in blank frames were its only mistakes there."""
    subject = survey.subject
    rows = Hesitant(subject.dataset, subject.rows.reader, subject.rows.item, subject.rows.row)
    other = replace(subject, rows=rows)
    found = named(other)
    assert found is not None
    people = [shot for shot in TEST if shot.seen_by_people]
    silent = [shot for shot in people if "sus;scrofa" in protocol_survey.speciesnet_label(shot)]
    blank = [shot for shot in silent if not shot.species]
    (part,) = [one for one in incumbents(other, found, blanks(other, found)).parts
               if one.who == "SpeciesNet" and one.what == WHAT]  # fmt: skip
    figures = {one.name.removeprefix("test/speciesnet/blank/"): one for pair in part.pairs for one in pair.figures}
    for who in ("model", "incumbent"):
        assert figures[f"{who}/balanced"].n == len(people) - len(silent)
        assert figures[f"{who}/blanks_kept"].n == 12 - len(blank) < 12
    assert survey.figures["test/speciesnet/blank/incumbent/blanks_kept"]["value"] > 0
    assert figures["incumbent/blanks_kept"].value == 0
    assert part.note.startswith(f"{len(silent)} frames on which SpeciesNet has no verdict are left out.")


def test_blanks_day_night_and_new_species(survey: Evaluated) -> None:
    figures, text = survey.figures, words(survey.page)
    assert figures["test/blank/animals_missed"]["n"] == 60 and figures["test/blank/blanks_kept"]["n"] == 12
    known = [shot for shot in TEST if shot.species and shot.species != protocol_survey.NEW]
    by_night = [shot for shot in known if shot.infrared]
    assert figures["test/light/night"]["n"] == figures["test/light/infrared"]["n"] == len(by_night)
    assert figures["test/light/day"]["n"] == len(known) - len(by_night)
    day, night = figures["test/light/day"]["value"], figures["test/light/night"]["value"]
    assert figures["test/light/day_minus_night"]["value"] == pytest.approx(day - night)
    new = figures["test/heldout/micro"]
    assert (new["n"], new["chance"], new["baseline"]) == (12, 20, 0)
    assert figures["test/heldout/genus"]["chance"] == 25 and figures["test/heldout/family"]["chance"] == 50
    assert protocol_survey.NEW in text and "No training image or text shows these species" in text
    assert figures["test/species/micro"]["n"] == len(known), "new species stand apart"
    shown(survey, "test/light/day", "test/blank/blanks_kept", "test/heldout/micro")


def test_unseen_places_stand_beside_seen_ones(survey: Evaluated) -> None:
    figures, text = survey.figures, words(survey.page)
    unseen, seen = figures["test/species/micro"], figures["cis_test/species/micro"]
    cis = survey.dataset.records(["taxon", "taxon_rank"], split="cis_test").to_pylist()
    assert seen["n"] == sum(row["taxon_rank"] == "species" for row in cis) > 0
    assert figures["places/seen_minus_unseen"]["value"] == pytest.approx(seen["value"] - unseen["value"])
    assert {"cis_test/species/macro_f1", "cis_test/events/max/macro_f1"} <= figures.keys()
    assert "Unseen beside seen places" in text and "weakest places" in text
    places = defaultdict(list)
    for record, answer in zip(*_answers(survey), strict=True):
        places[record["place"]].append(record["taxon"] == answer)
    worst = figures["test/places/worst_tenth"]
    assert worst["value"] == pytest.approx(100 * min(np.mean(own) for own in places.values()))
    assert "the worst one of 6 places" in worst["note"]
    shown(survey, "test/species/micro", "cis_test/species/micro", "test/places/worst_tenth")


def _answers(survey: Evaluated) -> tuple[list[dict[str, Any]], list[str]]:
    subject = survey.subject
    found = named(subject)
    assert found is not None
    return [subject.records[n] for n in found.images], found.predicted


def test_confidence_is_what_predict_prints(survey: Evaluated) -> None:
    subject, figures = survey.subject, survey.figures
    found = named(subject)
    assert found is not None
    sure = softmax(found.similarities[found.images], subject.confidence_temperature).max(1)
    right = np.array([a == b for a, b in zip(found.truth, found.predicted, strict=True)], float)
    assert figures["test/calibration/ece"]["value"] == pytest.approx(100 * ece(sure, right))
    assert "test/calibration/ece_scaled" in figures and "Reliability diagram of 48 answers" in survey.page
    shown(survey, "test/calibration/ece", "test/calibration/ece_scaled")


WITHOUT_PLACE = {
    "test/i2t/": "texts are found, not species",
    "test/t2i/": "images are found of a text",
    "untrained/test/t2i/": "images are found of a text",
    "test/caption/": "the most frequent caption stands there",
    "test/calibration/": "of its own confidence, no accuracy",
    "test/accepted/": "at thresholds of its own confidence",
    "test/review/": "at thresholds of its own confidence",
    "test/claims/": "compared between two runs",
    "test/species/largest_class": "looks at nothing itself",
    "test/species/place_only": "is the place-only baseline",
}
"""Percentages that no lookup of the place stands beside, by the start of their names, and why."""


def test_every_accuracy_stands_beside_chance_place_only_and_an_interval(survey: Evaluated) -> None:
    shares = {name: one for name, one in survey.figures.items() if one["unit"] == "%"}
    asked = {name: one for name, one in shares.items() if not name.startswith(tuple(WITHOUT_PLACE))}
    assert all(any(name.startswith(start) for name in shares) for start in WITHOUT_PLACE), "no exception without need"
    assert {"cis_test/species/micro", "test/heldout/genus", "test/megadetector/blank/model/balanced"} <= asked.keys()
    for name, one in asked.items():
        assert None not in (one["baseline"], one["low"], one["high"]), name
        assert one["chance"] is not None or "/incumbent/" in name, name
        assert one["low"] - 1e-9 <= one["value"] <= one["high"] + 1e-9 and one["n"] > 0, name
    lca = survey.figures["test/species/lca_distance"]
    assert None not in (lca["chance"], lca["baseline"], lca["low"])
    ahead, known = survey.figures["test/species/over_place_only"], survey.figures["test/species/place_only"]
    micro = survey.figures["test/species/micro"]
    assert micro["baseline"] == known["value"] and ahead["value"] == pytest.approx(micro["value"] - known["value"])


def test_blanks_and_relatives_stand_beside_a_lookup_of_the_place(survey: Evaluated) -> None:
    """No place of the test split trains, so the lookup says what is most frequent in training: an animal, a species."""
    figures, usual = survey.figures, most_frequent(survey.subject.train_places[1])
    missed, kept = (figures[f"test/blank/{name}"]["baseline"] for name in ("animals_missed", "blanks_kept"))
    assert (missed, kept) == (0, 100)
    for who in ("model", "incumbent"):
        assert figures[f"test/speciesnet/blank/{who}/balanced"]["baseline"] == 50
        assert figures[f"test/speciesnet/blank/{who}/animals_missed"]["baseline"] == 0
    assert figures["test/heldout/genus"]["baseline"] == 100 * (usual.split()[0] == "Canis")
    assert figures["test/heldout/family"]["baseline"] == 100 * (protocol_survey.SPECIES[usual][1] == "Canidae")


def test_the_lookup_names_what_is_frequent_at_a_place_that_trains(survey: Evaluated) -> None:
    """Blanks at one test place, wolves at the others."""
    subject = survey.subject
    at, *others = sorted({record["place"] for record in subject.records})
    told = [json.loads(one) for one in subject.train["facts"].to_pylist()]
    wolves = iter(others * len(told))
    where = {"blank": lambda: at, "Canis lupus": lambda: next(wolves)}
    names = [one.get("taxon", {"value": one["type"]["value"]})["value"] for one in told]
    moved = pa.array([where.get(name, lambda: "elsewhere")() for name in names])
    column = subject.train.schema.get_field_index("place")
    other = replace(subject, train=subject.train.set_column(column, "place", moved))
    found = named(other)
    assert found is not None and names.count("Canis lupus") >= len(others) and "blank" in names
    asked = blanks(other, found)
    assert asked.place_only.tolist() == [other.records[n]["place"] == at for n in asked.images]
    missed, kept = (one.baseline or 0 for one in blank_misses(other, found, asked).figures)
    assert missed == pytest.approx(100 * np.mean(asked.place_only[~asked.blank])) and missed > 0
    assert kept == pytest.approx(100 * np.mean(~asked.place_only[asked.blank])) and kept < 100
    kin = {one.name: one for one in held_out(other, found)[0].figures}
    new = [record["place"] for record, name in zip(other.records, other.species, strict=True)
           if name == protocol_survey.NEW]  # fmt: skip
    usual = most_frequent(other.train_places[1])
    right = [place != at or usual == "Canis lupus" for place in new]
    assert kin["test/heldout/genus"].baseline == pytest.approx(100 * np.mean(right)) and any(right)


def test_a_place_that_trains_with_blanks_alone_is_seen(survey: Evaluated) -> None:
    """Its lookup knows no species of it. All places of cis_test become unseen ones, which a sentence says."""
    subject = survey.subject
    at = min(record["place"] for record in subject.records)
    told = [json.loads(one) for one in subject.train["facts"].to_pylist()]
    moved = pa.array([at if "taxon" not in one else "elsewhere" for one in told])
    column = subject.train.schema.get_field_index("place")
    other = replace(subject, train=subject.train.set_column(column, "place", moved))
    found = named(other)
    assert found is not None and set(found.place_only) == {most_frequent(other.train_places[1])}
    section = places(other, found)
    assert [row.place for row in section.rows if row.seen] == [at] and len(section.rows) == 6
    counts = {one.name: one.n for one in section.every_figure}
    here = sum(group == at for group in found.groups)
    assert counts["test/seen/species/micro"] == here > 0
    assert counts["test/unseen/species/micro"] == len(found.images) - here
    aside = survey.figures["cis_test/species/micro"]["n"]
    assert section.note == f"{aside} images of cis_test at unseen places are not measured: {SUCH}"


SUCH = "the test split has such places too."


def test_a_machine_beside_a_model_by_an_independent_resample_of_places(survey: Evaluated) -> None:
    """Of a model that is right at half of the places: both intervals, and the share of draws in which it is better. A
    resample of images gives another interval."""
    subject = survey.subject
    found = _right_at_half(subject)
    own = beside_machine(subject, found, "speciesnet")
    assert own and len(set(own.places)) == protocol_survey.TEST_PLACES
    answers = zip(own.truth, own.model, own.machine, strict=True)
    rows = np.array([(truth == said, f"speciesnet: {truth}" == machine) for truth, said, machine in answers], float)
    figures = {one.name: one for one in incumbents(subject, found, blanks(subject, found)).figures}
    ahead, theirs = (figures[f"test/speciesnet/{who}/all/micro"] for who in ("ahead", "incumbent"))
    by_place, by_image = (
        np.quantile(_drawn(rows, groups), [0.025, 0.975], axis=0) for groups in (own.places, range(len(rows)))
    )
    assert [ahead.low, ahead.high] == pytest.approx(by_place[:, 0], abs=3)
    assert [theirs.low, theirs.high] == pytest.approx(by_place[:, 1], abs=3)
    assert by_image[0, 0] - by_place[0, 0] > 8 and by_place[1, 0] - by_image[1, 0] > 8, "images resampled would show"
    gap, told = _drawn(rows, own.places)[:, 0].round(9), re.search(r"better in ([0-9.]+) %", ahead.note)
    better = 100 * ((gap > 0).mean() + (gap == 0).mean() / 2)
    assert told and float(told.group(1)) == pytest.approx(better, abs=3) and 5 < better < 95


def _right_at_half(subject: Subject) -> Named:
    """A model that names every trained species rightly at three test places, and none at the others."""
    found = named(subject)
    assert found is not None
    good = sorted({record["place"] for record in subject.records})[::2]
    column = {name: n for n, name in enumerate(found.candidates)}
    similarities = np.zeros(found.similarities.shape)
    for n, (record, name) in enumerate(zip(subject.records, subject.species, strict=True)):
        right = column.get(name or "", 0)
        similarities[n, right if record["place"] in good else (right + 1) % len(column)] = 1
    return replace(found, similarities=similarities)


def _drawn(right: np.ndarray, groups: Sequence[Any]) -> np.ndarray:
    """(draws, 2) model minus machine, and machine, in percent, of groups drawn with replacement, draw by draw; `right`
    (n, 2) is what model and machine get right."""
    generator, rows = np.random.default_rng(99), defaultdict(list)
    for n, group in enumerate(groups):
        rows[group].append(n)
    members, found = list(rows.values()), []
    for _ in range(6000):
        kept = right[[n for drawn in generator.integers(0, len(members), len(members)) for n in members[drawn]]]
        found.append((100 * (kept[:, 0] - kept[:, 1]).mean(), 100 * kept[:, 1].mean()))
    return np.array(found)


def test_what_cannot_be_measured_is_said_in_a_sentence(tmp_path: Path) -> None:
    """No blank trains, no day of a training place is set aside, no new species, no machine spoke."""
    split = protocol_survey.split() | {"cis_test": 0.0, "held_out": ["p08", "p09"]}
    survey = protocol_survey.survey(f"{tmp_path}/root/archive") | {"overlays": []}
    found = evaluated(tmp_path, split=split, surveys=[survey], captions={"blank_share": 0.0})
    text = words(found.page)
    assert "has learnt no word for one and calls no frame blank; 4 test images are." in text
    assert "Every species of the test images has training images" in text
    assert "All test places are unseen." in text and "Beside what you have" not in text
    gone = ("test/blank/", "test/heldout/", "test/speciesnet/", "cis_test/", "places/")
    assert not [name for name in found.figures if name.startswith(gone)]
    assert found.figures["test/events/max/macro_f1"]["n"] == 10


def test_a_dataset_without_test_images_is_refused_in_one_line(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    protocol_survey.write(open_store(f"{root}/archive"))
    changes = {"surveys": [protocol_survey.survey(f"{root}/archive")], "split": {"kind": "place", "test": 0}}
    recipe = parse(Recipe, document(f"{root}/archive", root, data=changes))
    flow.prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    ended = xmodal("evaluate", untrained_run(recipe).name, "--root", root, "--report", tmp_path / "report.html")
    assert ended.code == 3 and "no image in the test split" in ended.line


def test_a_captioned_set_has_none_of_it(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    archive = open_store(f"{root}/archive")
    pictures = {f"{n:02d}.jpg": protocol_survey.picture(shot) for n, shot in enumerate(protocol_survey.shots()[:24])}
    for name, data in pictures.items():
        archive.put(f"images/{name}", data)
    archive.put("token.txt", "".join(f"{name}#0\ta dog on field {name[:2]}\n" for name in pictures).encode())
    for split, start in (("train", 0), ("val", 12), ("test", 18)):
        chosen = list(pictures)[start : start + (12 if split == "train" else 6)]
        archive.put(f"{split}.txt", "\n".join(chosen).encode())
    splits = {name: f"{name}.txt" for name in ("train", "val", "test")}
    source = {"kind": "captioned", "captions": "token.txt", "splits": splits}
    survey = {"name": "captioned", "archive": f"{root}/archive", "source": source}
    found = evaluated_as(tmp_path, {"surveys": [survey], "split": {"kind": "published"}})
    kinds = {name.split("/")[1] for name in found.figures if name.startswith("test/")}
    claims = {name.split("/")[2][:2] for name in found.figures if name.startswith("test/claims/")}
    assert not claims & {"c5", "c8"} and "Not measurable here: C5: no species are recorded" in words(found.page)
    assert (
        kinds <= {"i2t", "t2i", "rsum", "caption", "space", "claims"} and found.figures["test/rsum"]["baseline"] is None
    )
    text = words(found.page)
    assert not [title for title in ("Events", "Confidence", "Beside what", "Night, blanks") if title in text]
    assert "Place only" not in text and "place only" not in text
