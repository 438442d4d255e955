"""`xmodal evaluate` on a survey with events, blanks, new species and incumbents: the figures, and the page's words."""

import json
from collections import defaultdict
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.evaluate.species import named
from pipelines.evaluate.subject import Subject
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.report import formats
from pipelines.report.verdict import beside
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.health_surveys import frame
from tests.pipelines.road import document, untrained_run, xmodal
from tests.pipelines.surveys import coco_settings, write_coco
from tests.pipelines.test_prepare_flow import image
from xmodal.inference import Inference
from xmodal.metrics.calibration import ece, softmax
from xmodal.metrics.figure import Figure
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


def test_without_known_ranks_there_is_no_distance_and_the_page_says_why(tmp_path: Path) -> None:
    archive = open_store(str(tmp_path / "root/archive"))
    every = [frame(f"{place}/{n}.jpg", 1 + n % 2) for place in range(9) for n in range(4)]
    write_coco(archive, every, {one["file_name"]: image(n) for n, one in enumerate(every)}, ("red fox", "bobcat"))
    data = coco_settings(archive.url).model_dump(mode="json")
    found = evaluated_as(tmp_path, {"surveys": data["surveys"], "pixels": {"size": 32, "min_side": 4}})
    assert "test/t2i/p5" in found.figures and "test/t2i/ndcg" not in found.figures
    assert "nDCG by taxonomic distance: no text names a species whose genus, family" in words(found.page)


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


def test_every_accuracy_stands_beside_chance_place_only_and_an_interval(survey: Evaluated) -> None:
    kinds = ("species/micro", "species/macro", "species/macro_f1", "events/max/macro_f1", "species/lca_distance")
    for name in (
        *(f"test/{kind}" for kind in kinds),
        "cis_test/species/micro",
        "test/light/day",
        "test/species/family",
    ):
        one = survey.figures[name]
        assert None not in (one["chance"], one["baseline"], one["low"], one["high"]), name
        assert one["low"] <= one["value"] <= one["high"] and one["n"] > 0
    ahead, known = survey.figures["test/species/over_place_only"], survey.figures["test/species/place_only"]
    micro = survey.figures["test/species/micro"]
    assert micro["baseline"] == known["value"] and ahead["value"] == pytest.approx(micro["value"] - known["value"])


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
