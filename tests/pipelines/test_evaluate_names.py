"""An archive that names its animals by common names alone, as most COCO Camera Traps sets do: its names are species to
training and to `xmodal evaluate`; what cannot be asked is told."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infra.storage import open_store
from pipelines.advice import simpson
from pipelines.recipe import Recipe
from pipelines.show import show
from pipelines.taxa import class_of, species_facts, species_key, species_keys, species_shown, species_texts
from pipelines.train.lanes import training_rows
from pipelines.train.plan import TrainingPlan
from tests.pipelines.labels import frame, label, observation
from tests.pipelines.road import write_recipe, xmodal
from tests.pipelines.surveys import coco_settings, write_coco
from tests.pipelines.test_evaluate_protocol import Evaluated, evaluated_as, words
from xmodal.settings import parse

NAMES = ("red fox", "bobcat", "raccoon")
PLACES, FRAMES = 12, 12


def category(frame: int) -> int:
    """Of the twelve frames of a place: two blank, six foxes, three bobcats, one raccoon."""
    return 0 if frame < 2 else 1 + (frame > 7) + (frame > 10)


def picture(number: int, of: int) -> bytes:
    """A JPEG that no other is like, whose colour tells the category."""
    pixels = np.random.default_rng(number).normal((40 + 50 * of, 160, 90), 20, (32, 32, 3))
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def archive(folder: Path, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """The archive below `folder`, and the data settings of its dataset."""
    store = open_store(f"{folder}/root/archive")
    rows = [
        {"id": f"{place}-{n}", "file_name": f"{place}/{n}.jpg", "location": f"place {place}",
         "seq_id": f"{place} {n // 2}", "category": min(category(n), len(names))}
        for place in range(PLACES)
        for n in range(FRAMES)
    ]  # fmt: skip
    files = {row["file_name"]: picture(n, row["category"]) for n, row in enumerate(rows)}
    write_coco(store, rows, files, names)
    data = coco_settings(store.url).model_dump(mode="json")
    split = {"kind": "place", "val": 0.2, "test": 0.3}
    return {"surveys": data["surveys"], "pixels": {"size": 32, "min_side": 4}, "name": "coco", "split": split,
            "captions": {"blank_share": 1.0}}  # fmt: skip


@pytest.fixture(scope="module")
def named_only(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("names")
    return evaluated_as(folder, archive(folder))


def shown(survey: Evaluated, split: str) -> list[str | None]:
    """The archive's own name of each frame of a split."""
    documents = survey.dataset.records(["facts"], split=split)["facts"].to_pylist()
    return [json.loads(one).get("taxon", {"names": {}})["names"].get("eng") for one in documents]


def test_common_names_are_species_to_evaluate(named_only: Evaluated) -> None:
    figures, text = named_only.figures, words(named_only.page)
    asked = [name for name in shown(named_only, "test") if name]
    assert set(named_only.dataset.records(["taxon"])["taxon"].to_pylist()) == {None}, "records stay as they are"
    micro = figures["test/species/micro"]
    assert micro["n"] == len(asked) > 20 and micro["chance"] == pytest.approx(100 / 3)
    largest = figures["test/species/largest_class"]["value"]
    assert largest == pytest.approx(100 * asked.count("red fox") / len(asked))
    for name in ("events/max/macro_f1", "light/colour", "calibration/ece", "calibration/ece_scaled", "claims/c3_nmi",
                 "claims/c8_knn", "places/worst_tenth", "blank/animals_missed"):  # fmt: skip
        assert f"test/{name}" in figures, name
    assert not [name for name in figures if name.startswith(("test/heldout", "test/species/genus"))]
    assert "bobcat" in text and "no figure of species" not in text
    assert "Mistaken for" in text and "no species" not in text.partition("C5:")[0]


def test_common_names_are_classes_to_train_class_power(named_only: Evaluated) -> None:
    rows, trained = training_rows(named_only.dataset), Counter(shown(named_only, "train"))
    assert set(trained) == {*NAMES, None} and len(set(trained.values())) == 4, "blanks and three species of unlike size"
    assert sorted(np.bincount(rows.label)) == sorted(trained.values())
    where = list(zip(rows.item.tolist(), rows.row.tolist(), strict=True))
    assert where == sorted(where)
    table = named_only.dataset.records(["facts"], split="train").sort_by([("item", "ascending"), ("row", "ascending")])
    kinds = [class_of(json.loads(one)) for one in table["facts"].to_pylist()]
    assert set(kinds) == {*NAMES, "blank"} and len(set(zip(kinds, rows.label.tolist(), strict=True))) == 4


def test_the_plan_draws_classes_by_train_class_power(named_only: Evaluated) -> None:
    made = named_only.recipe.model_dump(mode="json")

    def drawn(power: float) -> list[int]:
        recipe = parse(Recipe, made | {"train": made["train"] | {"class_power": power}})
        order = TrainingPlan.of(recipe, named_only.dataset).order
        return sorted(np.bincount(order.rows.label[order.epoch(0)[:, 0]]).tolist())

    own = sorted(Counter(shown(named_only, "train")).values())
    assert drawn(1.0) == own and max(drawn(0.0)) - min(drawn(0.0)) <= 1
    root = np.sqrt(own)
    assert drawn(0.5) == pytest.approx(sum(own) * root / root.sum(), abs=1)


def test_show_knows_how_many_are_of_one_species(named_only: Evaluated, tmp_path: Path) -> None:
    root = named_only.recipe.compute.root or ""
    data = named_only.recipe.data.model_dump(mode="json")
    told = show((str(write_recipe(tmp_path / "names.yaml", f"{root}/archive", root, data=data)),))
    assert "are of a query's species" in told
    assert simpson(shown(named_only, "train")) > 0.2


def test_one_species_is_no_choice_and_a_sentence_says_so(tmp_path: Path) -> None:
    found = evaluated_as(tmp_path, archive(tmp_path, NAMES[:1]))
    assert not [name for name in found.figures if "/species/" in name or "/events/" in name]
    line = "the training rows name one species, and a choice needs two"
    assert "Not measurable here: no figure of species, events, places, light, blank frames" in words(found.page)
    assert line in words(found.page)
    root, report = str(tmp_path / "root"), tmp_path / "again.html"
    ended = xmodal("evaluate", found.run, "--root", root, "--report", report)
    assert ended.code == 0 and "not measurable here: no figure of species" in ended.out and line in ended.out


FOX = label("Vulpes vulpes", "species", {"family": "Canidae"}, eng="Red Fox")


@pytest.mark.parametrize(
    ("of", "key"),
    [
        (FOX, "Vulpes vulpes"),
        (label("Vulpes vulpes crucigera", "subspecies", eng="European fox"), "Vulpes vulpes"),
        (label("Canidae", "family", eng="dog family"), None),
        (label("Vulpes", "genus", eng="fox"), None),
        (label(None, None, eng="red fox", spa="zorro"), "red fox"),
        (label(None, None, {"family": "Canidae"}, spa="zorro"), "zorro"),
        (label(None, None, eng="animal"), None),
        (label(None, None, eng="animal", spa="zorro"), "zorro"),
        (label(None, None, zho="x"), None),
    ],
)  # fmt: skip
def test_a_taxon_goes_by_its_species_or_the_archives_own_name(of: dict[str, Any], key: str | None) -> None:
    known = frame(observation(of))
    assert species_key(known.get("taxon")) == key and species_shown(known) == ({key} if key else set())
    assert species_keys([json.dumps(known)]) == [key]
    if key:
        first = species_texts(known["taxon"], "eng")[0].lower()
        assert any(name.lower() in first for name in (key, *of["names"].values())), first


def test_a_subspecies_lends_its_species_a_fact_where_that_has_none() -> None:
    sub = frame(observation(label("Vulpes vulpes crucigera", "subspecies", {"family": "Canidae"}, eng="European fox")))
    fox, wolf = frame(observation(FOX)), frame(observation(label("Canis lupus", "species")))
    both = species_facts([json.dumps(one) for one in (sub, fox, wolf)])
    assert both["Vulpes vulpes"] == fox["taxon"] and set(both) == {"Vulpes vulpes", "Canis lupus"}
    alone = species_facts([json.dumps(sub)])["Vulpes vulpes"]
    assert (alone["value"], alone["rank"]) == ("Vulpes vulpes", "species")
    assert alone["lineage"] == {"family": "Canidae", "genus": "Vulpes"} and alone["names"] == {"eng": "European fox"}


def test_a_frame_of_several_shows_each_species() -> None:
    hare = label("Lepus europaeus", "species")
    sub = label("Vulpes vulpes crucigera", "subspecies")
    family = label("Canidae", "family")
    assert species_shown(frame(observation(FOX), observation(hare))) == {"Vulpes vulpes", "Lepus europaeus"}
    assert species_shown(frame(observation(FOX), observation(sub))) == {"Vulpes vulpes"}
    assert species_shown(frame(observation(FOX), observation(family))) == {"Vulpes vulpes"}
    assert species_shown(frame(observation(type="blank"))) == set()


def test_a_row_is_of_the_class_that_it_is_recorded_as() -> None:
    rows = {
        "Vulpes vulpes": observation(FOX),
        "Canidae": observation(label("Canidae", "family")),
        "red fox": observation(label(None, None, eng="red fox")),
        "animal": observation(),
        "blank": observation(type="blank"),
        "human": observation(type="human"),
    }
    assert [class_of(frame(row)) for row in rows.values()] == list(rows) and class_of({}) == ""
