"""`predict classify --review`: what people should look at, how much that is, and what comes back from a spreadsheet."""

import csv
import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.predictions.asked import ASKED, RARE, Asking
from pipelines.predictions.ladder import Ladder
from pipelines.predictions.looks import looks
from pipelines.predictions.review import HEADER, TO_FILL
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.retrain.changes import changes
from pipelines.retrain.look import worth
from pipelines.retrain.settings import RetrainSettings
from pipelines.sources.camtrap_dp import CamtrapDP
from pipelines.sources.corrections import Corrections
from pipelines.sources.schema import Survey
from tests.pipelines import protocol_survey
from tests.pipelines.answering import PLACES, Answering
from tests.pipelines.protocol_survey import SPECIESNET, Shot
from tests.pipelines.road import copy
from xmodal.settings import parse

pytestmark = pytest.mark.timeout(600)
SHOTS = {shot.key: shot for shot in protocol_survey.shots(PLACES)}
FRESH = range(20, 30)
"""Places that nobody has labelled, of which SpeciesNet saw the first half."""
WRONG = dict.fromkeys(range(84, 120), "Canis lupus") | dict.fromkeys(range(120, 132), "Lepus europaeus")
"""Frames to what people call them, rightly or not."""
Row = dict[str, str]


def without_labels(store: Store) -> None:
    """People's labels of the places FRESH go, half of SpeciesNet's too, and WRONG ones come."""
    rows = list(csv.DictReader(io.StringIO(store.read("observations.csv").decode())))
    number = {row["observationID"]: int(row["mediaID"].removeprefix("m")) for row in rows}
    shot = {one.number: one for one in SHOTS.values()}
    kept = [row for row in rows if shot[number[row["observationID"]]].place not in FRESH]
    for row in kept:
        if (name := WRONG.get(number[row["observationID"]])) and row["observationType"] == "animal":
            row["scientificName"] = name
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    store.put("observations.csv", stream.getvalue().encode())
    said = json.loads(store.read(SPECIESNET))["predictions"]
    left = [one for one in said if SHOTS[one["filepath"]].place not in FRESH[5:]]
    store.put(SPECIESNET, json.dumps({"predictions": left}).encode())


@dataclass(frozen=True)
class Asked:
    """A version with frames that nobody has labelled, and what people are asked of it."""

    model: Answering
    archive: Store
    version: Dataset
    folder: Path
    out: str
    err: str

    @property
    def review(self) -> list[Row]:
        return table(self.folder / "review.csv")

    @property
    def frames(self) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "out/frames.parquet").to_pylist()

    @property
    def budget(self) -> dict[str, Any]:
        return json.loads((self.folder / "review-budget.json").read_text())

    @property
    def trust(self) -> dict[str, Any]:
        (file,) = (Path(self.model.root) / "runs" / self.model.run).glob("trust-*")
        return json.loads(file.read_text())


def table(file: Path) -> list[Row]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def version(model: Answering, archive: Store, *overlays: dict[str, Any]) -> Dataset:
    """The next one of the dataset `fresh`, with these overlays above the survey's own."""
    recipe = model.recipe
    survey = protocol_survey.survey(archive.url)
    laid = recipe.data.model_dump() | {
        "name": "fresh",
        "surveys": [survey | {"overlays": [*survey["overlays"], *overlays]}],
    }
    data = parse(type(recipe.data), laid)
    return flow.prepare(data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())


@pytest.fixture(scope="module")
def asked(answered: Answering, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("review")
    archive = open_store(str(folder / "archive"))
    copy(answered.archive, archive)
    without_labels(archive)
    fresh = version(answered, archive)
    review = ("--review", folder / "review.csv", "--seconds-a-look", "7")
    ended = answered.classify("--dataset", "fresh", "--to", folder / "out", *review)
    assert ended.code == 0, ended.err
    return Asked(answered, archive, fresh, folder, ended.out, ended.err)


def files(row: Row) -> list[str]:
    """All that one look settles."""
    return [row["key"], *(row["also"].split(" | ") if row["also"] else [])]


def test_what_people_are_asked(asked: Asked) -> None:
    """Once every unsure frame that they have not labelled, and every sure answer that contradicts what is recorded."""
    answers = {one["file"]: one for one in asked.frames}
    labels = {
        one["media_id"]: json.loads(one["facts"]) for one in asked.version.records(["media_id", "facts"]).to_pylist()
    }
    label = {file: labels[one["media_id"]] for file, one in answers.items()}
    theirs = {file for file, facts in label.items() if "human" in facts.get("type", {}).get("source", "")}
    listed = Counter(file for row in asked.review for file in files(row))
    assert set(listed.values()) == {1} and listed.keys() <= answers.keys()
    unsure = {file for file, one in answers.items() if one["type"] == "unknown" and file not in theirs}
    assert len(unsure) > 20 and unsure <= listed.keys()
    others = {file: next(row for row in asked.review if file in files(row)) for file in listed.keys() - unsure}
    assert all("but " in row["why"] and answers[file]["type"] != "unknown" for file, row in others.items())
    by = Counter(row["labelled_by"] for row in others.values())
    assert by["people"] >= 5 and by.keys() <= {"people", "SpeciesNet", "MegaDetector"} and len(by) > 1
    sure = [file for file, one in answers.items() if one["rank"] == "species" and file in theirs]
    wrong = {file for file in sure if label[file]["taxon"]["value"] != answers[file]["taxon"]}
    assert wrong == {file for file, row in others.items() if row["labelled_by"] == "people"} & set(sure)
    assert any("but people say Lepus europaeus, which it was never trained on" in row["why"] for row in asked.review)
    assert "labelled as species that it was never trained on" in asked.err and "Lepus europaeus" in asked.err


def test_the_best_look_stands_first_by_the_formula(asked: Asked) -> None:
    """Worked out again from the frames' answers, what training saw, and the labels."""
    answers, trust = {one["file"]: one for one in asked.frames}, asked.trust
    places = {one["media_id"]: one["place"] for one in asked.version.records(["media_id", "place"]).to_pylist()}
    shown = asked.review
    assert [float(row["worth"]) for row in shown] == sorted((float(row["worth"]) for row in shown), reverse=True)
    for row in shown:
        worths = []
        for file in files(row):
            one = answers[file]
            empty = 1 - one["animal_confidence"]
            sure = empty if empty > 0.5 else one["species_confidence"]
            rarity = 0 if empty > 0.5 else RARE / (RARE + trust["trained"][one["species"]])
            against = one["confidence"] if "but " in row["why"] else 0
            worths.append(1 - sure + against + rarity + (places[one["media_id"]] not in trust["seen"]))
        expected = sum(worths) / len(worths) * math.sqrt(len(worths))
        assert float(row["worth"]) == pytest.approx(expected, abs=2e-4), row
        assert int(row["frames"]) == len(worths) and not any(row[name] for name in TO_FILL)
        assert len({answers[file]["event_id"] for file in files(row)}) == 1
    assert max(int(row["frames"]) for row in shown) == 2 and tuple(shown[0]) == HEADER


def frame(**columns: Any) -> dict[str, Any]:
    """A sure answer to a frame that nobody has labelled."""
    return {
        "survey": "s", "deployment_id": "d", "event_id": "e", "captured_at": None, "file": "1.jpg", "media_id": "1",
        "place": "p", "facts": None, "incumbents": None, "type": "animal", "taxon": "Lynx lynx", "rank": "species",
        "common_name": None, "confidence": 0.9, "animal_confidence": 0.95, "species": "Lynx lynx",
        "species_confidence": 0.9, "reason": "species: 90 % sure, 80 % asked for",
    } | columns  # fmt: skip


def test_a_rare_species_is_looked_at_however_sure_the_answer_is() -> None:
    taxon = {"value": "Lynx lynx", "rank": "species", "lineage": {"family": "Felidae"}, "names": {}}
    ladder = Ladder.of({"Lynx lynx": taxon}, blank=True)
    rare, known = (Asking(ladder, {"Lynx lynx": images}, frozenset({"p"})) for images in (RARE - 1, RARE))
    assert known.of_frame(frame()) is None
    found = rare.of_frame(frame())
    assert found and found["kind"] == "rare" and found["why"].endswith("; rare: 19 training images")
    assert found["worth"] == pytest.approx(0.1 + RARE / (2 * RARE - 1))
    people = json.dumps({"type": {"value": "animal", "source": "x/human"}, "taxon": taxon}).encode()
    assert rare.of_frame(frame(facts=people)) is None, "people have named it"
    machine = people.replace(b"human", b"machine").replace(b"animal", b"blank").replace(b'"taxon"', b'"x"')
    against = known.of_frame(frame(facts=machine, place="elsewhere"))
    assert against and against["kind"] == "contradicts" and against["worth"] == pytest.approx(0.1 + 0.9 + 0.5 + 1)
    assert "but Machine labels of the archive (x) says blank; a place that it has never seen" in against["why"]


def test_looks_hold_as_many_names_as_a_cell_and_crops_are_one_frame() -> None:
    row = dict.fromkeys(ASKED.names) | {"alike": "a", "survey": "s", "worth": 1.0}
    names = [*(f"{'x' * 90}/{n:04d}.jpg" for n in range(700)), "a|b.jpg", " c.jpg"]
    asked = [row | {"file": name, "shows": n / 1000} for n, name in enumerate(names)]
    found = looks(pa.Table.from_pylist([*asked, asked[5] | {"shows": 0.99}], ASKED)).to_pylist()
    assert Counter(
        file for one in found for file in [one["file"], *(one["also"] or "").split(" | ")] if file.strip()
    ) == (Counter(names))
    assert sum(one["frames"] for one in found) == 702 and len(found) == 5
    assert all(len(one["also"] or "") < 32_767 for one in found)
    assert all(one["worth"] == pytest.approx(math.sqrt(one["frames"])) for one in found)
    assert next(one for one in found if one["frames"] > 1)["file"] == names[5], "the one that shows best"


def test_the_budget_is_counted_and_told(asked: Asked) -> None:
    budget, told = asked.budget, asked.budget["unlabelled"]
    assert told["looks"] == len(asked.review) and told["images"] == told["accepted"] + told["remain"]
    assert told["hours"] == round(told["looks"] * 7 / 3600, 2) and "assumed" in budget["seconds_a_look_is"]
    for name in ("images", "accepted", "remain", "looks"):
        assert sum(one[name] for one in budget["species"].values()) == told[name]
    assert budget["model"] == f"{asked.model.run}@0" and sum(budget["looks_by_reason"].values()) == told["looks"]
    fox = budget["species"]["Vulpes vulpes"]["tested"]
    assert 0 <= fox["answered"]["low"] <= fox["answered"]["value"] <= fox["answered"]["high"] <= 1
    lines = [line for line in asked.out.splitlines() if line.startswith("review: ")]
    assert f"{told['looks']:,} looks, about {told['looks'] * 7 / 3600:.1f} hours at 7 s a look (assumed)" in lines[0]
    assert "at thresholds for 95 % precision, at 6 unseen places of the test split" in lines[1]


def test_what_is_left_at_unseen_places_is_measured_as_it_is_predicted(asked: Asked) -> None:
    """`evaluate`'s shares are those of the answers to the same frames."""
    figures = {one["name"]: one for one in json.loads(asked.model.evaluated.out)}
    test = asked.model.dataset.records(["media_id", "event_id", "facts"], split="test").to_pylist()
    people = {one["media_id"]: one["event_id"] for one in test if "human" in json.loads(one["facts"])["type"]["source"]}
    answers = [one for one in asked.frames if one["media_id"] in people]
    left = [one for one in answers if one["type"] == "unknown"]
    accepted, looks = figures["test/review/accepted"], figures["test/review/looks"]
    assert accepted["value"] == pytest.approx(100 * (1 - len(left) / len(answers)))
    assert looks["value"] == pytest.approx(
        100 * len({(one["event_id"], one["animal_confidence"] < 0.5) for one in left}) / len(answers)
    )
    assert looks["chance"] == pytest.approx(100 * len(set(people.values())) / len(answers))
    for name in ("accepted", "looks", "right"):
        one = figures[f"test/review/{name}"]
        assert one["low"] < one["high"] and one["low"] <= one["value"] <= one["high"] + 1e-9, name
        assert one["chance"] is not None
    page = (Path(asked.model.root).parent / "report.html").read_text()
    section = " ".join(page.partition('id="review"')[2].partition("</section>")[0].split())
    assert "at 6 unseen places of the test split" in section and "hours at 10 s a look, which is assumed." in section
    assert "Of the 2 images of this version that nobody has labelled" in section
    assert all(f"<i>{name}</i>" in section for name in protocol_survey.SPECIES)


def filled(rows: list[Row]) -> list[Row]:
    """As someone fills them in who sees what is there; every tenth look is left for another day."""
    return [row | answer(SHOTS[row["key"]]) if n % 10 else row for n, row in enumerate(rows)]


def answer(shot: Shot) -> Row:
    said = {"scientific_name": shot.species.lower()} if shot.species else {"type": "Blank"}
    return said | {"count": "1" if shot.species else "", "note": "visto en año 2026"}


def written(rows: list[Row], delimiter: str = ",", columns: tuple[str, ...] = HEADER) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, delimiter=delimiter, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def turned(rows: list[Row]) -> list[Row]:
    """Month and day of every time exchanged, worth as a date, and one path and one count read as dates."""
    found = [row | {"captured_at": "05/03/2026 11:00", "worth": "02-Jan", "guess_confidence": "0,7"} for row in rows]
    found[1] |= {"key": "03/04/2026"}
    found[2] |= {"count": "2-Jan"}
    return found


def strewn(rows: list[Row]) -> str:
    """A title, empty rows, a repeated header, a row twice, another survey's row, and sums below."""
    head, _, body = written([*rows, rows[3]], ";").partition("\r\n")
    blank = ";" * head.count(";")
    stray = written([dict.fromkeys(HEADER, "") | {"key": "elsewhere/1.jpg", "type": "blank"}], ";").splitlines()[1]
    total = written([dict.fromkeys(HEADER, "") | {"worth": "Total", "count": "45"}], ";").splitlines()[1]
    return "\r\n".join([f"Review of autumn{blank}", blank, head, body.rstrip(), blank, head, stray, total, ""])


SAVED: dict[str, tuple[Callable[[list[Row]], bytes], dict[str, int]]] = {
    "as it was written": (lambda rows: written(rows).encode("utf-8-sig"), {}),
    "latin-1": (lambda rows: written(rows, ";").encode("latin-1"), {}),
    "other columns": (lambda rows: written(rows, "\t", HEADER[::-1]).encode("utf-16"), {}),
    "sorted by hand": (lambda rows: written(sorted(rows, key=lambda row: row["key"])).encode(), {}),
    "dates turned": (lambda rows: written(turned(rows), ";").encode("cp1252"), {"bad_count": 1}),
    "stray rows": (
        lambda rows: strewn(rows).encode("latin-1"),
        {"superseded_row": 2, "no_such_media": 1, "details_without_label": 1},
    ),
}
"""How a spreadsheet leaves the file, and the rows that are counted for it."""


@pytest.fixture(scope="module")
def bare(asked: Asked) -> Survey:
    return CamtrapDP(kind="camtrap_dp").read(asked.archive)


def corrected(store: Store, below: Survey, content: bytes) -> tuple[dict[str, tuple[str, str | None]], Counter[str]]:
    store.put("review.csv", content)
    found = Corrections(kind="corrections", path="review.csv").read(store, below)
    own = [row for row in found.observations.to_pylist() if row["origin"] == "corrections"]
    return {row["media_id"]: (row["type"], row["taxon"]) for row in own}, found.refused.counts


@pytest.mark.parametrize("how", SAVED)
def test_what_a_spreadsheet_leaves_says_the_same(asked: Asked, bare: Survey, how: str) -> None:
    """All filled rows, of every frame that they are about; the others say nothing."""
    save, counted = SAVED[how]
    rows = filled(asked.review)
    rows[3] |= {"also": rows[3]["also"] or "img/0001.jpg"}
    said, refused = corrected(asked.archive, bare, save(rows))
    expected = {file: ("animal", SHOTS[row["key"]].species) if SHOTS[row["key"]].species else ("blank", None)
                for row in rows if row["note"] for file in files(row)}  # fmt: skip
    assert said == {f"m{SHOTS[file].number}": one for file, one in expected.items()}
    assert refused == counted


def test_names_that_nothing_else_has_are_kept_and_doubted(asked: Asked, bare: Survey) -> None:
    """A slip, a species that neither model nor survey knows, a word for nothing, an error of a spreadsheet."""
    rows = asked.review[:4]
    for row, name in zip(rows, ("Vulpes vulpse", "Panthera onca", "", "#NAME?"), strict=True):
        row |= {"scientific_name": name, "also": "", "type": "" if name else "no idea"}
    said, refused = corrected(asked.archive, bare, written(rows).encode())
    assert Counter(said.values()) == {("animal", "Vulpes vulpse"): 1, ("animal", "Panthera onca"): 1}
    assert refused == {"perhaps_misspelt": 1, "unknown_type": 1, "bad_label": 1}


def test_what_comes_back_is_labels_and_no_image_is_read(asked: Asked, counted: Counter[str]) -> None:
    """From review.csv to a version whose new labels `retrain` counts; what was settled is not asked again."""
    rows = filled(asked.review)
    asked.archive.put("review.csv", written(rows, ";").encode("latin-1"))
    found = version(asked.model, asked.archive, {"kind": "corrections", "path": "review.csv"})
    assert "review.csv" in counted and not [key for key in counted if key.endswith(".jpg")]
    before, now = asked.version.document, found.document
    assert now["version"] == before["version"] + 1 and now["pixels"] == before["pixels"]
    settled = {file: SHOTS[row["key"]].species for row in rows if row["note"] for file in files(row)}
    known = {one["media_id"]: one for one in found.records(["media_id", "taxon", "facts"]).to_pylist()}
    for file, species in settled.items():
        one = known[f"m{SHOTS[file].number}"]
        assert one["taxon"] == species and json.loads(one["facts"])["type"]["source"] == "corrections/human"
    counts = changes(found, asked.version).counted
    assert counts["new_media"] == counts["gone_media"] == 0 and 0 < counts["labelled"] <= len(settled)
    assert counts["labelled_train"] > 0 and 0 < counts["corrected"] < counts["labelled"]
    assert worth(counts, None, RetrainSettings(least_labelled=counts["labelled_train"]))[0]

    again = asked.folder / "again"
    words = ("--dataset", "fresh", "--unlabelled", "--to", again, "--review", again / "review.csv")
    ended = asked.model.classify(*words)
    assert ended.code == 0, ended.err
    left = {one["file"] for one in pq.read_table(again / "frames.parquet").to_pylist()}
    people = {
        one["media_id"]
        for one in known.values()
        if "human" in json.loads(one["facts"]).get("type", {}).get("source", "")
    }
    assert len(left) == 360 - len(people) and not left & settled.keys()
    assert {file for row in table(again / "review.csv") for file in files(row)} <= left


def test_a_folder_that_nobody_knows(asked: Asked, tmp_path: Path) -> None:
    """Names that a spreadsheet would run come back as they were, commas, bars and accents too."""
    names = ["=cam/1.jpg", "-cam/a|b.jpg", "@cám/x, y.jpg", "cam/1.jpg"]
    for n, name in enumerate(names):
        (tmp_path / "survey" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(asked.archive.url) / f"img/{60 + n:04d}.jpg", tmp_path / "survey" / name)
    words = ("--to", tmp_path / "out", "--precision", "0.99", "--review", tmp_path / "review.csv")
    ended = asked.model.classify(tmp_path / "survey", *words)
    assert ended.code == 0, ended.err
    rows = table(tmp_path / "review.csv")
    assert rows and all("a place that it has never seen" in row["why"] for row in rows)
    assert not any(row["key"].startswith(("=", "-", "@")) for row in rows)


def test_mistakes_end_in_one_line_and_nothing_filled_in_is_lost(asked: Asked, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text(written(filled(asked.review)), encoding="utf-8")
    kept = mine.read_bytes()
    (tmp_path / "other.csv").write_text("name,price\nx,1\n")
    to = ("--dataset", "fresh", "--to", tmp_path / "out")
    for words, code, told in [
        ((*to, "--review", mine), 3, "rows are filled in; move it, or give another name"),
        ((*to, "--review", tmp_path / "other.csv"), 3, "names a column key or media_id"),
        ((*to, "--review", tmp_path / "review.xlsx"), 2, "give the name of a .csv file"),
        ((*to, "--review", tmp_path / "out/frames.csv"), 2, "that is where the answers go"),
    ]:
        ended = asked.model.classify(*words)
        assert ended.code == code and told in ended.line, (words, ended)
    for words, told in [
        (("--dataset", "fresh", "--review", mine), "belongs to --to"),
        ((asked.folder / "out", "--unlabelled", "--to", tmp_path / "out"), "--unlabelled belongs to --dataset"),
        ((*to, "--seconds-a-look", "5"), "--seconds-a-look belongs to --review"),
    ]:
        ended = asked.model.classify(*words)
        assert ended.code == 2 and told in ended.err, (words, ended)
    assert mine.read_bytes() == kept and not list(tmp_path.glob("out/*.csv"))
