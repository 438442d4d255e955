"""Test images among a whole list of species: against a slow reference, what maps and what does not, and the verb."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.evaluate import distractors
from pipelines.evaluate.settings import EvaluationSettings
from pipelines.evaluate.species import named
from pipelines.evaluate.species_list import read_species
from pipelines.evaluate.subject import Subject
from pipelines.prepare import flow
from pipelines.prepare.captions import class_texts
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.report.content import FigureGroup
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from tests.pipelines import protocol_survey
from tests.pipelines.road import document, untrained_run, xmodal
from xmodal.inference import Inference
from xmodal.metrics.figure import Figure
from xmodal.settings import SettingsError, parse

HEAD = "name,kingdom,phylum,class,order,family,genus,common_name"
CANIDS = "Animalia,Chordata,Mammalia,Carnivora,Canidae"
ROWS = (
    f"Vulpes vulpes,{CANIDS},Vulpes,Red fox",
    f"Canis lupus,{CANIDS},Canis,Wolf",
    f"{protocol_survey.NEW},{CANIDS},Canis,Golden jackal",
    "Sus scrofa,Animalia,Chordata,Mammalia,Artiodactyla,Suidae,Sus,Wild boar",
    "Salix ×fragilis,Plantae,Tracheophyta,Magnoliopsida,Malpighiales,Salicaceae,Salix,Crack willow",
    *(f"Testudo fictiva{'abcdefgh'[n]},Animalia,Chordata,Reptilia,Testudines,Testudinidae,Testudo," for n in range(8)),
)
"""All species of the survey but one (Cervus elaphus), and distractors."""


def write(path: Path, *rows: str, head: str = HEAD) -> str:
    path.write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    root = str(tmp_path_factory.mktemp("distractors") / "root")
    archive = f"{root}/archive"
    protocol_survey.write(open_store(archive))
    data = {"surveys": [protocol_survey.survey(archive)], "split": protocol_survey.split()}
    made = parse(Recipe, document(archive, root, data=data))
    flow.prepare(made.data, made.compute.store(), made.model.image, made.model.text, workers=InProcess())
    untrained_run(made)
    return made


@pytest.fixture(scope="module")
def subject(recipe: Recipe) -> Subject:
    store = recipe.compute.store()
    with opened(store, "untrained-0000-0") as directory:
        model = Inference.load(directory)
    dataset = flow.Dataset.open(store, recipe.data.name)
    return Subject.of(model, dataset, sample_reader(recipe, dataset), "test")


def groups(subject: Subject, path: str | None) -> list[FigureGroup]:
    return distractors.groups(subject, EvaluationSettings(gallery=path))


def figures(found: list[FigureGroup]) -> dict[str, Figure]:
    rows = [row for group in found for row in group.figures]
    assert len({row.name for row in rows}) == len(rows)
    return {row.name.removeprefix("test/gallery/"): row for row in rows}


def ladder(name: str, taxa: Any) -> list[str | None]:
    facts = taxa[name]
    return [name, *(facts["lineage"].get(rank) for rank in ("genus", "family", "order", "class"))]


def slow(subject: Subject, path: str, images: list[int], candidates: list[str]) -> dict[str, float]:
    """Image by image and candidate by candidate."""
    taxa, own = read_species(path).taxa, subject.train_taxa
    vectors = {name: subject.model.class_vectors([class_texts(own.get(name) or taxa[name])])[0] for name in candidates}
    right, five, genus, steps, truth = [], [], [], [], []
    for image in images:
        true = subject.records[image]["taxon"]
        vector = subject.gallery.images[image]
        order = sorted(candidates, key=lambda name: -float(vector @ vectors[name]))
        places = {**own, **taxa}
        pairs = list(zip(ladder(true, places), ladder(order[0], places), strict=True))
        truth.append(true)
        right.append(order[0] == true)
        five.append(true in order[:5])
        genus.append(pairs[1][0] == pairs[1][1])
        steps.append(next((n for n, (a, b) in enumerate(pairs) if a == b), 5))
    per = [[n for n, one in enumerate(truth) if one == name] for name in sorted(set(truth))]

    def share(values: list[bool]) -> float:
        return 100 * sum(values) / len(values)

    def macro(values: list[bool]) -> float:
        return sum(share([values[n] for n in rows]) for rows in per) / len(per)

    return {
        "micro": share(right),
        "macro": macro(right),
        "top5_micro": share(five),
        "top5_macro": macro(five),
        "genus": share(genus),
        "lca_distance": sum(steps) / len(steps),
    }


def test_figures_are_those_of_a_slow_reference(subject: Subject, tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", *ROWS)
    found, trained = figures(groups(subject, path)), named(subject)
    assert trained is not None
    every = sorted({*trained.candidates, *read_species(path).taxa})
    assert len(every) == len(ROWS) + 1
    new = [n for n, one in enumerate(subject.records) if one["taxon"] == protocol_survey.NEW]
    asked = (("", trained.images, every), ("closed/", trained.images, trained.candidates), ("new/", new, every))
    for part, images, candidates in asked:
        for key, value in slow(subject, path, images, candidates).items():
            row = found[f"{part}species/{key}"]
            assert row.value == pytest.approx(value) and row.n == len(images), row.name
        guess = 100 / len(candidates)
        assert found[f"{part}species/micro"].chance == pytest.approx(guess)
        assert found[f"{part}species/top5_macro"].chance == pytest.approx(min(100, 5 * guess))
    assert found["closed/species/top5_micro"].value == 100
    assert found["species/genus"].chance == pytest.approx(
        100 * np.mean([{"Canis": 2}.get(name.split()[0], 1) / len(every) for name in trained.truth])
    )


def test_what_maps_by_scientific_name_is_counted_and_named(subject: Subject, tmp_path: Path) -> None:
    found = groups(subject, write(tmp_path / "list.csv", *ROWS))
    rows = figures(found)
    deer = [one for one in subject.records if one["taxon"] == "Cervus elaphus"]
    species = [one for one in subject.records if one["taxon_rank"] == "species"]
    assert (rows["mapped"].value, rows["mapped"].n) == (4, len(species) - len(deer))
    assert (rows["not_mapped"].value, rows["not_mapped"].n) == (1, len(deer)) and deer
    assert "13 species" in found[0].note and "Not on it by scientific name: Cervus elaphus." in found[0].note
    assert "ranked by the text encoder alone" in found[0].note


def test_what_the_list_names_no_rank_for_is_told(subject: Subject, tmp_path: Path) -> None:
    every, _, new = groups(subject, write(tmp_path / "list.csv", "Vulpes vulpes", protocol_survey.NEW, head="name"))
    assert every.missing == [] and "test/gallery/new/species/family" not in {row.name for row in new.figures}
    assert new.missing == [
        "right at the rank of family, order, class: no image that is asked is labelled with a name there",
        "rank steps to the answer: no image that is asked is labelled with a name at every rank",
    ]


def test_a_list_that_nothing_maps_to_is_one_line(subject: Subject, tmp_path: Path) -> None:
    (group,) = groups(subject, write(tmp_path / "list.csv", *ROWS[4:]))
    assert not group.figures
    (line,) = group.missing
    assert "none of the 5 species of the test images stands on it" in line and "'Canis aureus'" in line


def test_without_the_setting_there_is_no_group(subject: Subject) -> None:
    assert groups(subject, None) == []


def test_equal_texts_stand_in_an_order_that_no_name_decides(subject: Subject, tmp_path: Path) -> None:
    """Names of unknown letters all become one vector: the alphabet must not choose among them."""
    names = [f"Δ{chr(945 + n)} {chr(945 + n)}" for n in range(20)]
    among = distractors.Among(subject, named(subject) or pytest.fail("no species"), read_species(
        write(tmp_path / "list.csv", *ROWS[:1], *(f"{name}{',' * 7}" for name in names))))  # fmt: skip
    assert set(among.candidates) >= set(names) and among.candidates != sorted(among.candidates)
    again = distractors.Among(subject, among.found, among.listed)
    assert again.candidates == among.candidates


def test_rows_that_are_no_species_are_counted(tmp_path: Path) -> None:
    odd = (
        "Felidae,Animalia,,,,,,Cats",
        f"Vulpes vulpes,{CANIDS},Vulpes,Fox",
        f"Canis lupus lupus,{CANIDS},Canis,",
        ",A,,,,,,",
    )
    found = read_species(write(tmp_path / "list.csv", *ROWS, *odd))
    assert len(found.taxa) == len(ROWS) and found.taxa["Vulpes vulpes"]["names"] == {"eng": "Red fox"}
    assert dict(found.refused.counts) == {"not_a_species": 2, "duplicate_name": 1, "no_name": 1}
    hybrid = found.taxa["Salix ×fragilis"]
    assert hybrid["rank"] == "species" and any("crack willow" in text.lower() for text in class_texts(hybrid))


@pytest.mark.data
def test_the_real_list_of_8142_species(data_dir: Path) -> None:
    found = read_species(str(data_dir / "inaturalist2018/categories.csv"))
    assert len(found.taxa) == 8142 and found.refused.counts == {}
    assert all(len(class_texts(taxon)) > 4 and "genus" in taxon["lineage"] for taxon in found.taxa.values())


def test_a_table_of_names_alone_is_enough(tmp_path: Path) -> None:
    assert list(read_species(write(tmp_path / "names.csv", "Vulpes vulpes", "Canis lupus", head="name")).taxa) == [
        "Vulpes vulpes", "Canis lupus"
    ]  # fmt: skip


def test_lists_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="lacks the column 'name'"):
        read_species(write(tmp_path / "a.csv", "Vulpes vulpes", head="species"))
    with pytest.raises(DataRefused, match=r"names no species \(not_a_species 1\)"):
        read_species(write(tmp_path / "b.csv", "Felidae", head="name"))
    with pytest.raises(SettingsError, match=r"gallery.*'list.xlsx' is no table by its name; allowed: .csv"):
        parse(EvaluationSettings, {"gallery": "list.xlsx"})


def test_the_verb_prints_the_figures_and_the_page_has_them(recipe: Recipe, tmp_path: Path) -> None:
    path, report = write(tmp_path / "list.csv", *ROWS), tmp_path / "report.html"
    words = ("evaluate", "untrained-0000-0", "--root", recipe.compute.root or "", "--report", report)
    ended = xmodal(*words, f"evaluation.gallery={path}")
    assert ended.code == 0, ended.err
    assert "test/gallery/mapped" in ended.out and "test/gallery/closed/species/macro" in ended.out
    assert "images of trained species among all 14" in report.read_text()
    absent = xmodal(*words, f"evaluation.gallery={tmp_path / 'absent.csv'}")
    assert absent.code == 10 and "absent.csv" in absent.line
