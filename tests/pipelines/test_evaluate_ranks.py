"""Frames labelled with a family, a subspecies, or several species: at which rank they are asked for, and what is left
out and counted."""

import numpy as np
import pytest

from infra.storage import open_store
from pipelines.evaluate.species import named
from pipelines.taxa import species_shown
from tests.pipelines import protocol_survey
from tests.pipelines.test_evaluate_protocol import Evaluated, evaluated_as, words

HARE, EVENTS = "Lepus europaeus", protocol_survey.EVENTS


def frames(place: int, event: int) -> tuple[int, int]:
    """The numbers of the two frames of an event."""
    first = (place * EVENTS + event) * protocol_survey.FRAMES
    return first, first + 1


def labels() -> dict[int, list[str]]:
    """At test places: an event of a family, one of a family that no trained species belongs to, a subspecies, a fox
    whose second frame shows a hare too, an event of hares. At the others hares stand beside other species alone."""
    events = {(1, 0): ["Canidae"], (2, 0): ["Felidae"], (5, 0): [HARE]}
    found = {n: named for event, named in events.items() for n in frames(*event)}
    found |= {frames(3, 0)[0]: ["Sus scrofa scrofa"], frames(4, 0)[1]: ["Vulpes vulpes", HARE]}
    taken = {shot.number: shot.species for shot in protocol_survey.shots()}
    trained = range(protocol_survey.TEST_PLACES, protocol_survey.PLACES)
    return found | {n: [taken[n] or "", HARE] for n in (frames(place, 2)[0] for place in trained)}


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("ranks")
    archive = f"{folder / 'root'}/archive"
    protocol_survey.write(open_store(archive), labels=labels())
    return evaluated_as(folder, {"surveys": [protocol_survey.survey(archive)], "split": protocol_survey.split()})


def test_each_frame_is_asked_from_the_rank_of_its_label_upwards(survey: Evaluated) -> None:
    """Of 48 frames of trained species two are a family's, two a strange family's, one shows two species, two are hares;
    the subspecies is asked as its species. Class: the two species of a frame share it."""
    figures = survey.figures
    counts = {"micro": 41, "species": 41, "lca_distance": 41, "genus": 41, "family": 43, "order": 43, "class": 44}
    assert {name: figures[f"test/species/{name}"]["n"] for name in counts} == counts
    assert "3 images without a name at this rank left out" in figures["test/species/genus"]["note"]
    assert "3 images without a name at every rank left out" in figures["test/species/lca_distance"]["note"]
    assert figures["test/species/class"]["value"] == 100


def test_a_family_is_right_where_the_answer_is_one_of_it(survey: Evaluated) -> None:
    subject = survey.subject
    found = named(subject)
    assert found is not None
    family = {name: own[1] for name, own in protocol_survey.SPECIES.items()}
    asked = [(family[name], family[said]) for name, said in zip(found.truth, found.predicted, strict=True)]
    canids = [n for n, one in enumerate(subject.facts) if one.get("taxon", {}).get("value") == "Canidae"]
    asked += [("Canidae", family[found.answers[n]]) for n in canids]
    value = 100 * np.mean([a == b for a, b in asked])
    assert len(canids) == 2 and survey.figures["test/species/family"]["value"] == pytest.approx(value)


def test_how_far_off_the_wrong_answers_are(survey: Evaluated) -> None:
    """Of species asked for: steps by hand, for the model, for a guess among the others, for the lookup by place."""
    found = named(survey.subject)
    assert found is not None
    ladders = {
        name: (name, name.split()[0], family, order) for name, (order, family) in protocol_survey.SPECIES.items()
    }

    def steps(truth: str, said: str) -> int:
        return next((n for n in range(4) if ladders[truth][n] == ladders[said][n]), 4)

    asked = list(zip(found.truth, found.predicted, strict=True))
    wrong = [steps(truth, said) for truth, said in asked if truth != said]
    guessed = [np.mean([steps(truth, other) for other in found.candidates if other != truth])
               for truth, said in asked if truth != said]  # fmt: skip
    lookup = [steps(*pair) for pair in zip(found.truth, found.place_only, strict=True) if pair[0] != pair[1]]
    figure = survey.figures["test/species/mistake_severity"]
    assert figure["n"] == len(wrong) > 0 and figure["value"] == pytest.approx(np.mean(wrong))
    assert figure["chance"] == pytest.approx(np.mean(guessed)) and figure["low"] <= figure["value"] <= figure["high"]
    assert figure["baseline"] == pytest.approx(np.mean(lookup))
    lca = survey.figures["test/species/lca_distance"]
    assert lca["value"] * lca["n"] == pytest.approx(figure["value"] * figure["n"])


def test_what_is_not_asked_is_counted(survey: Evaluated) -> None:
    text = words(survey.page)
    told = (
        "Of 72 images 41 are asked for their species and 3, labelled with a higher taxon, for its rank and those above."
    )
    assert told in text
    left_out = "12 of new species, 2 of species that training images show beside others alone, "
    left_out += "2 of higher taxa without a trained species, 12 without a taxon"
    assert f"Not asked: {left_out}" in text


def test_events_of_several_species_are_left_out(survey: Evaluated) -> None:
    """A fox in one frame, a fox and a hare in the next."""
    text = words(survey.page)
    assert survey.figures["test/events/max/micro_f1"]["n"] == 20 and "20 events of 40 frames" in text
    expected = "1 of several species, 7 of a species that was not trained on, 8 without a species"
    assert f"Events left out: {expected}." in text


def test_a_species_that_training_shows_beside_another_is_not_new(survey: Evaluated) -> None:
    subject = survey.subject
    assert HARE not in subject.train_taxa and HARE in subject.train_shown
    assert sum(HARE in species_shown(one) for one in subject.facts) == 3
    assert survey.figures["test/heldout/micro"]["n"] == 12 and "No training image or text shows" in words(survey.page)


def test_a_machine_is_asked_at_the_same_ranks(survey: Evaluated) -> None:
    """58 frames that people named: two of each family and the one of two species have no species."""
    for who in ("incumbent", "model", "ahead"):
        counts = {"all/micro": 53, "trained/micro": 39, "genus": 53, "family": 57, "order": 57, "class": 58}
        assert {key: survey.figures[f"test/speciesnet/{who}/{key}"]["n"] for key in counts} == counts
    assert "and 5 labelled with a higher taxon, which count from its rank upwards" in words(survey.page)
