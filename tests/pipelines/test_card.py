"""The model card, and what it answers: written by `evaluate`, read as a hub reads it, asked without the dataset."""

import json
import re
from pathlib import Path

import pyarrow.compute as pc
import pytest
import torch
from ruamel.yaml import YAML

from infra.storage import open_store
from pipelines.card import TrainedOn
from pipelines.card.written import cell
from pipelines.dataset import Dataset
from pipelines.prepare.units import place_hash
from pipelines.recipe import Recipe
from tests.pipelines.road import prepared, untrained_run, xmodal

RUN = "carded-0000-0"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    made = prepared(str(tmp_path_factory.mktemp("card")))
    torch.manual_seed(0)
    untrained_run(made, RUN)
    return made


@pytest.fixture(scope="module")
def dataset(recipe: Recipe) -> Dataset:
    return Dataset.open(recipe.compute.store(), "tiny")


@pytest.fixture(scope="module")
def card(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    words = ("evaluate", RUN, "--root", recipe.compute.root or "", "--report", folder / "report.html")
    ended = xmodal(*words, "--card", folder / "card")
    assert ended.code == 0, ended.err
    return folder / "card"


def test_a_hub_reads_its_header(card: Path, dataset: Dataset) -> None:
    header, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", (card / "README.md").read_text(), re.DOTALL).groups()  # pyright: ignore
    read = YAML(typ="safe").load(header)
    assert read["library_name"] == "xmodal" and read["language"] == ["en"] and read["datasets"] == ["tiny"]
    assert read["pipeline_tag"] == "zero-shot-image-classification"
    (index,) = read["model-index"]
    (result,) = index["results"]
    assert index["name"] == "tiny" and result["dataset"]["revision"] == dataset.digest
    assert {"type", "name", "value"} == set(result["metrics"][0]) and result["metrics"][0]["type"].startswith("test/")
    assert body.lstrip().startswith("# tiny\n")


def test_it_says_what_for_how_right_and_on_what(card: Path, dataset: Dataset) -> None:
    said = (card / "README.md").read_text()
    assert "generated: its figures say nothing about nature" in said
    for heading in (
        "What it is for",
        "What it is not for",
        "How right it is",
        "What it was trained on",
        "How it was made",
    ):
        assert f"## {heading}" in said
    assert re.search(r"^\| Vulpes vulpes \| \d+ \| \d+", said, re.MULTILINE)
    rows = re.findall(r"^\| tiny \| (.+?) \| .+ \| (\d+) \|$", said, re.MULTILINE)
    stated = dataset.records(["licence"], split="train")
    assert sum(int(images) for _, images in rows) == len(stated)
    assert {licence for licence, _ in rows} == {cell(one or "none stated") for one in stated["licence"].to_pylist()}
    assert "{{" not in said and "None" not in said
    assert str(dataset.store.url) not in said and "archive:" not in said, "addresses are nobody's matter"


def test_a_text_of_an_archive_is_no_markdown_and_no_html() -> None:
    assert cell('<script>alert("|")</script>\n# x [y](z)') == (
        '&lt;script&gt;alert("\\|")&lt;/script&gt; \\# x \\[y\\](z)'
    )


def test_files_and_places_are_known_again_by_the_card_alone(
    card: Path, recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    rows = dataset.records(["media_id", "place", "split", "survey"]).to_pylist()
    ledger = dataset.ledger(["media_id", "key"]).filter(pc.field("media_id").is_valid()).to_pylist()
    keys, archive = {row["media_id"]: row["key"] for row in ledger}, open_store(recipe.data.surveys[0].archive)
    own = {split: next(row for row in rows if row["split"] == split) for split in ("train", "test")}
    for split, row in own.items():
        (tmp_path / f"{split}.jpg").write_bytes(archive.read(keys[row["media_id"]]))
    (tmp_path / "changed.jpg").write_bytes((tmp_path / "train.jpg").read_bytes() + b"\0")
    ended = xmodal("seen", tmp_path, "--card", card, "--json")
    assert ended.code == 0, ended.err
    answers = {Path(line["file"]).stem: line["trained_on"] for line in map(json.loads, ended.out.splitlines())}
    assert answers == {"train": True, "test": False, "changed": False}
    told = xmodal("seen", tmp_path / "train.jpg", "--card", card).out
    assert told == f"trained on      {tmp_path / 'train.jpg'}\n"


def test_places_are_asked_for_by_survey_and_name(tmp_path: Path) -> None:
    known = TrainedOn(frozenset([b"123456"]), frozenset([place_hash("alps", "river mouth").encode()]))
    (tmp_path / "trained_on.parquet").write_bytes(known.to_bytes())
    assert TrainedOn.from_bytes(known.to_bytes()) == known and known.to_bytes() == known.to_bytes()
    ended = xmodal("seen", "--card", tmp_path, "--place", "alps/river mouth", "--place", "andes/river mouth")
    assert ended.out.splitlines() == ["trained on      alps/river mouth", "not trained on  andes/river mouth"]


def test_the_places_of_training_images_are_in_it_and_no_other(card: Path, dataset: Dataset) -> None:
    known = TrainedOn.from_bytes((card / "trained_on.parquet").read_bytes())
    train, test = (set(dataset.records(["place"], split=one)["place"].to_pylist()) for one in ("train", "test"))
    assert known.places == {place.encode() for place in train if place} and not train & test
    assert len(known.images) > 20


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--card", "{card}"], 2, "seen: name images"),
        (["--card", "{card}", "--place", "river"], 2, "--place river: write SURVEY/PLACE"),
        (["--card", "{empty}", "--place", "a/b"], 10, "no trained_on.parquet here"),
        (["{empty}", "--card", "{features}"], 10, "trained on features whose image files are not known"),
    ],
)
def test_a_mistake_is_a_line(words: list[str], code: int, told: str, card: Path, tmp_path: Path) -> None:
    for name in ("empty", "features"):
        (tmp_path / name).mkdir()
    (tmp_path / "features" / "trained_on.parquet").write_bytes(TrainedOn(frozenset(), frozenset()).to_bytes())
    places = {"card": card, "empty": tmp_path / "empty", "features": tmp_path / "features"}
    ended = xmodal("seen", *(word.format(**places) for word in words))
    assert ended.code == code and told in ended.line
