"""`xmodal serve`: what the page's server answers, whom it answers, and what it keeps of what people say."""

import csv
import io
import json
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

from infra.storage import Store, open_store
from pipelines.errors import DataRefused
from pipelines.serve.attention import Attention, words
from pipelines.serve.desk import PER_PAGE
from pipelines.serve.flow import Wishes, desk_of, guard_of, serve, served
from pipelines.serve.guard import COOKIE
from pipelines.serve.ranking import best, cosines
from pipelines.serve.review import Review, Said
from pipelines.sources.camtrap_dp import CamtrapDP
from pipelines.sources.corrections import Corrections
from pipelines.spreadsheets import safe
from tests.pipelines.answering import PLACES, Answering
from tests.pipelines.packages import faults
from tests.pipelines.road import xmodal
from xmodal.settings import SettingsError, parse

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Served:
    """A page's server in this process."""

    model: Answering
    address: str
    wishes: Wishes

    def get(self, path: str, headers: dict[str, str] | None = None, **asked: Any) -> Any:
        query = f"?{urlencode(asked)}" if asked else ""
        return self._answer(urllib.request.Request(f"{self.address}{path}{query}", headers=headers or {}))

    def post(self, path: str, sent: Any, headers: dict[str, str] | None = None) -> Any:
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        own = {"x-xmodal": "1", "content-type": "application/json"} if headers is None else headers
        return self._answer(urllib.request.Request(f"{self.address}{path}", data, own))

    @staticmethod
    def _answer(request: urllib.request.Request) -> Any:
        with urllib.request.urlopen(request, timeout=60) as answer:
            data = answer.read()
            return json.loads(data) if answer.headers["content-type"] == "application/json" else data

    def found(self, **asked: Any) -> list[int]:
        """All images of a search, page by page."""
        first = self.get("api/search", **asked)
        pages = [first, *(self.get("api/search", **asked, page=page) for page in range(1, first["pages"]))]
        images = [item["image"] for page in pages for item in page["items"]]
        assert len(images) == first["total"] and all(len(page["items"]) == PER_PAGE for page in pages[:-1])
        return images


def refused(work: Any, *given: Any, **named: Any) -> tuple[int, str]:
    """Status and reason of a request that is not granted."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        work(*given, **named)
    return caught.value.code, caught.value.read().decode()


@pytest.fixture(scope="module")
def model(answered: Answering) -> Answering:
    return answered


@pytest.fixture(scope="module")
def wishes(model: Answering, tmp_path_factory: pytest.TempPathFactory) -> Wishes:
    folder = tmp_path_factory.mktemp("served")
    with (folder / "deployments.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["deploymentID", "latitude", "longitude"])
        rows.writerows([f"d{n}", 40 + n / 100, -3.5] for n in range(PLACES))
    return Wishes(model.run, root=model.root, port=0, folder=folder / "index", review=folder / "review.csv",
                  deployments=str(folder / "deployments.csv"), utc_offset="+02:00")  # fmt: skip


@pytest.fixture(scope="module")
def page(model: Answering, wishes: Wishes) -> Iterator[Served]:
    with served(wishes) as address:
        yield Served(model, address, wishes)


@pytest.fixture(scope="module")
def every(page: Served) -> list[dict[str, Any]]:
    """All that the server tells of each image, in the order of the index."""
    return [page.get(f"api/images/{n}") for n in range(page.get("api/about")["images"])]


def test_a_text_finds_what_every_cosine_says(page: Served, wishes: Wishes) -> None:
    desk = desk_of(wishes)
    images = np.asarray(desk.index.images, np.float64)
    query = desk.model.text_vectors(["a wolf at night"])[0].double().numpy()
    found = page.found(text="a wolf at night")
    assert sorted(found) == list(range(len(images)))
    scores = images[found] @ query
    assert (np.diff(scores) <= 1e-6).all() and scores[0] > scores[-1]
    like = page.found(like=7)
    assert like[0] == 7 and (np.diff(images[like] @ images[7]) <= 1e-6).all()


def test_an_image_that_is_sent_is_searched_by(page: Served) -> None:
    stored = page.model.archive.read("img/0007.jpg")
    upload = page.post("api/uploads", stored)["upload"]
    first = page.get("api/search", upload=upload)["items"][0]
    assert first["score"] > 0.999
    assert page.get(f"api/images/{first['image']}")["file"] == "img/0007.jpg"
    code, said = refused(page.post, "api/uploads", b"\xff\xd8 no image")
    assert code == 400 and "cannot be read as an image" in said
    assert refused(page.get, "api/search", upload="gone")[0] == 404


def test_filters_leave_what_they_say_and_count_what_they_leave(page: Served, every: list[dict[str, Any]]) -> None:
    about = page.get("api/about")
    for facet in ("label", "light", "split", "survey"):
        counts = dict(about["facets"][facet])
        assert sum(counts.values()) == about["images"] and list(counts.values()) == sorted(counts.values())[::-1]
        for value, count in counts.items():
            kept = [one["image"] for one in every if (one[facet] or "unknown") == value]
            assert page.found(**{facet: value}) == kept and len(kept) == count
    both = page.found(label="Vulpes vulpes", light="night", text="fox")
    assert set(both) == set(page.found(label="Vulpes vulpes")) & set(page.found(light="night")) != set()
    unsure = [every[n]["species_confidence"] for n in page.found(sort="unsure", least=0.3, most=0.8)]
    assert unsure == sorted(unsure) and 0.3 <= unsure[0] <= unsure[-1] <= 0.8
    assert len(unsure) == sum(0.3 <= one["species_confidence"] <= 0.8 for one in every)
    day = sorted({one["captured_at"][:10] for one in every})[1]
    assert page.found(since=day, until=day) == [one["image"] for one in every if one["captured_at"][:10] == day]
    assert page.found(since="2100-01-01") == []


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"label": "Vulpes lupus"}, 400, "no image has 'Vulpes lupus'"),
        ({"since": "01/02/2026"}, 400, "not a date, as 2026-05-01"),
        ({"like": 100_000}, 404, "no image 100000"),
        ({"least": 2}, 422, "less than or equal to 1"),
        ({"nothing": 1}, 422, "nothing"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_so(page: Served, asked: dict[str, Any], code: int, said: str) -> None:
    status, told = refused(page.get, "api/search", **asked)
    assert status == code and said in told


def test_an_image_is_told_with_all_that_is_known_and_nothing_private(page: Served, every: list[dict[str, Any]]) -> None:
    one = next(one for one in every if one["label"] == "Vulpes vulpes" and one["boxes"])
    assert one["boxes"][0]["class"] == "animal" and one["size"] == [32, 32] and one["caption"] and one["reason"]
    assert len(one["texts"]) == 5 and len(one["like"]) == 12 and one["image"] not in [n["image"] for n in one["like"]]
    jpeg = page.get(f"images/{one['image']}.jpg")
    assert Image.open(io.BytesIO(jpeg)).format == "JPEG" and b"Exif" not in jpeg
    told = json.dumps(every)
    assert "deployment" not in told and "latitude" not in told
    assert all(len(item["place"]) == 8 for item in every), "a hash, as everywhere beyond the archive"


def test_the_index_is_made_once(page: Served, wishes: Wishes, capsys: pytest.CaptureFixture[str]) -> None:
    folder = wishes.folder
    assert folder is not None
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir() if file.is_file()}
    desk_of(wishes)
    assert "index" not in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir() if file.is_file()} == before
    other = desk_of(replace(wishes, precision=0.8))
    assert len(other.index) == 360 and len(list(folder.glob("images-*.f32"))) == 1, "the old index is gone"


class TestLabels:
    """What people say."""

    def test_it_is_an_overlay_that_prepare_reads(self, page: Served, wishes: Wishes, tmp_path: Path) -> None:
        page.post(
            "api/labels", {"images": [0, 1], "type": "animal", "scientific_name": "Vulpes vulpes", "note": "=1+1"}
        )
        page.post("api/labels", {"images": [2], "type": "animal", "common_name": "red\ndeer"})
        assert page.get("api/images/2")["said"] == "red deer" and len(wishes.review.read_text().splitlines()) == 4
        page.post("api/labels", {"images": [1], "type": "blank"})
        assert page.get("api/images/0")["said"] == "Vulpes vulpes" and page.get("api/images/1")["said"] == "blank"
        assert page.post("api/labels/undo", {"images": [2]}) == {"gone": 1, "said": 2}
        store = open_store(str(tmp_path))
        store.put("review.csv", wishes.review.read_bytes())
        read = parse(Corrections, {"kind": "corrections", "path": "review.csv"}).read(
            store, archive(page.model.archive)
        )
        rows = [row for row in read.observations.to_pylist() if row["origin"] == "corrections"]
        files = {page.get(f"api/images/{n}")["media_id"]: n for n in (0, 1)}
        told = {files[row["media_id"]]: (row["type"], row["taxon"], row["method"]) for row in rows}
        assert told == {0: ("animal", "Vulpes vulpes", "human"), 1: ("blank", None, "human")}
        assert read.refused.counts.keys() <= {"superseded_row"}
        assert page.post("api/labels/undo", {"images": [0, 1, 2]})["said"] == 0

    def test_what_was_said_outlives_the_server(self, tmp_path: Path) -> None:
        file = tmp_path / "below" / "review.csv"
        rows = [Said("s", "a.jpg", "m1", "animal", "Vulpes vulpes", note='says "fox", surely'),
                Said("s", "=b.jpg", "m2", "blank")]  # fmt: skip
        Review(file).say(rows)
        with file.open("a") as stream:
            stream.write("s,c.jpg,m3,ani")  # a kill in the middle of a line
        again = Review(file)
        assert len(again) == 2 and [again.of(row.survey, row.key) for row in rows] == rows
        again.say([Said("s", "a.jpg", "m1", "animal", "Vulpes lagopus")])
        said = Review(file).of("s", "a.jpg")
        assert said is not None and said.name == "Vulpes lagopus"

    def test_another_file_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "review.csv"
        file.write_text("key;label\na.jpg;fox\n")
        with pytest.raises(DataRefused, match=r"its columns are not survey, key, .* name another file with --review"):
            Review(file)
        assert file.read_text() == "key;label\na.jpg;fox\n"

    @pytest.mark.parametrize(
        "sent",
        [
            {"images": [], "type": "blank"},
            {"images": [0], "type": "fox"},
            {"images": [100_000], "type": "blank"},
            {"images": [0], "type": "blank", "more": 1},
        ],
    )
    def test_nonsense_is_not_written(self, page: Served, wishes: Wishes, sent: dict[str, Any]) -> None:
        before = wishes.review.read_bytes()
        assert refused(page.post, "api/labels", sent)[0] in (404, 422)
        assert wishes.review.read_bytes() == before

    def test_many_at_once_are_all_there(self, page: Served, wishes: Wishes) -> None:
        work = [threading.Thread(target=page.post, args=("api/labels", {"images": [n], "type": "blank"}))
                for n in range(20)]  # fmt: skip
        for one in work:
            one.start()
        for one in work:
            one.join()
        assert len(Review(wishes.review)) == 20
        assert page.post("api/labels/undo", {"images": list(range(20))})["gone"] == 20


def archive(store: Store) -> Any:
    """The protocol survey, as its source reads it."""
    return parse(CamtrapDP, {"kind": "camtrap_dp", "package": "datapackage.json"}).read(store)


class TestSelection:
    """Images to take away."""

    def test_a_csv_is_safe_and_whole(self, page: Served, every: list[dict[str, Any]]) -> None:
        page.post("api/labels", {"images": [3], "type": "animal", "common_name": "=cmd()"})
        data = page.post("api/selection", {"images": [5, 3], "form": "csv"}).decode()
        five, three = list(csv.DictReader(io.StringIO(data)))
        assert five["file"] == every[5]["file"] and five["corrected_type"] == ""
        assert three["corrected_type"] == "animal" and three["corrected_name"] == safe("=cmd()") == "'=cmd()"
        assert five["model"] == f"{page.model.run}@0" and five["label"] == every[5]["label"]
        page.post("api/labels/undo", {"images": [3]})
        asked = {"label": "Sus scrofa", "text": "boar"}
        rows = list(csv.DictReader(io.StringIO(page.post("api/selection", {"asked": asked, "form": "csv"}).decode())))
        assert [row["file"] for row in rows] == [every[n]["file"] for n in page.found(**asked)]

    def test_a_package_holds_what_model_and_people_say(self, page: Served, tmp_path: Path) -> None:
        page.post("api/labels", {"images": [4], "type": "animal", "scientific_name": "Canis lupus", "note": "tracks"})
        data = page.post("api/selection", {"images": [4, 5, 6], "form": "camtrap-dp"})
        page.post("api/labels/undo", {"images": [4]})
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            package.extractall(tmp_path)
        assert faults(tmp_path / "datapackage.json") == []
        with (tmp_path / "observations.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == 3
        (person,) = [row for row in rows if row["classificationMethod"] == "human"]
        assert (person["scientificName"], person["classifiedBy"], person["classificationProbability"]) == (
            "Canis lupus", "", "")  # fmt: skip
        assert person["observationComments"] == "tracks"
        machine = [row for row in rows if row["classificationMethod"] == "machine"]
        assert {row["classifiedBy"] for row in machine} == {f"{page.model.run}@0"}

    def test_without_coordinates_there_is_no_package(self, wishes: Wishes, tmp_path: Path) -> None:
        desk = desk_of(replace(wishes, deployments=None, review=tmp_path / "review.csv"))
        assert not desk.about()["packages"]
        with pytest.raises(SettingsError, match="a Camtrap DP package needs --deployments FILE"):
            desk.selection.camtrap_dp([0])


class TestGuard:
    """Who may ask."""

    def test_on_loopback_only_our_names_and_our_page(self, page: Served) -> None:
        assert refused(page.get, "api/about", headers={"Host": "evil.example"})[0] == 421
        assert refused(page.post, "api/labels", {"images": [0], "type": "blank"}, headers={})[0] == 403
        with urllib.request.urlopen(page.address, timeout=20) as answer:
            policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert refused(page.get, "docs")[0] == refused(page.get, "openapi.json")[0] == 404

    def test_beyond_it_nobody_without_the_token(self, model: Answering, wishes: Wishes, tmp_path: Path) -> None:
        wide = replace(wishes, host="0.0.0.0", token="s3cret-token", review=tmp_path / "review.csv")
        with served(wide) as address:
            assert address.endswith("/?token=s3cret-token")
            at = address.replace("0.0.0.0", "127.0.0.1").partition("?")[0]
            open_page = Served(model, at, wide)
            for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"{COOKIE}=s3cret"}):
                assert refused(open_page.get, "api/about", headers=headers)[0] == 401
                assert refused(open_page.get, "images/0.jpg", headers=headers)[0] == 401
            assert open_page.get("api/about", headers={"authorization": "Bearer s3cret-token"})["images"] == 360
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with opener.open(f"{at}?token=s3cret-token&text=fox", timeout=20) as answer:
                assert answer.url == f"{at}?text=fox", "the token leaves the address"
            with opener.open(f"{at}api/about", timeout=20) as answer:
                assert json.loads(answer.read())["images"] == 360

    def test_a_token_is_drawn_where_none_is_given(self, wishes: Wishes) -> None:
        drawn = [guard_of(replace(wishes, host="0.0.0.0")).token for _ in range(2)]
        assert len(set(drawn)) == 2 and all(len(one) >= 32 for one in drawn)
        assert guard_of(wishes).token == ""


def test_a_port_that_is_taken_is_one_line(page: Served, wishes: Wishes) -> None:
    port = int(page.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(SettingsError, match=rf"--port {port}: cannot listen there: Address already in use"):
        serve(replace(wishes, port=port))


def test_mistakes_are_one_line(model: Answering, tmp_path: Path) -> None:
    for words_, code, said in (
        (["nobody"], 10, "nobody: no checkpoint there; runs under"),
        ([model.run, "--dataset", "tiny@x"], 2, "a version is a number"),
        ([model.run, "--precision", "0.5"], 2, "thresholds are known for"),
    ):
        ended = xmodal("serve", *words_, "--root", model.root, "--port", "0", "--review", tmp_path / "review.csv")
        assert ended.code == code and said in ended.line


def test_a_model_that_was_not_evaluated_shows_no_answers(
    model: Answering, wishes: Wishes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = model.recipe.compute.store()
    (trust,) = [entry.key for entry in store.list(f"runs/{model.run}/") if "/trust-" in entry.key]
    kept = store.read(trust)
    store.delete([trust])
    try:
        desk = desk_of(replace(wishes, folder=tmp_path / "index", review=tmp_path / "review.csv", deployments=None))
    finally:
        store.put(trust, kept)
    assert "until then the page shows no answers of the model" in capsys.readouterr().err
    assert desk.about()["answers"] is False and desk.image(0)["type"] is None
    with pytest.raises(SettingsError, match="needs answers: run `xmodal evaluate` first"):
        desk.selection.camtrap_dp([0])


def test_equal_scores_and_pages_lose_and_repeat_nothing() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 7, 100):
        scores = generator.integers(0, 4, size).astype(np.float32)
        among = np.flatnonzero(generator.random(size) < 0.8)
        pages = [best(scores, among, begin, 6).images for begin in range(0, len(among) + 6, 6)]
        want = among[np.argsort(-scores[among], kind="stable")]
        assert np.concatenate(pages).tolist() == want.tolist()
    vectors = generator.normal(size=(200_000, 8)).astype(np.float32)
    assert np.allclose(cosines(vectors, vectors[3]), vectors @ vectors[3], atol=1e-5)


def test_pieces_become_words_again() -> None:
    pieces = ["[CLS]", "a", "mar", "##ten", "at", "night", "[SEP]", "[PAD]"]
    assert words(pieces) == [("a", [1]), ("marten", [2, 3]), ("at", [4]), ("night", [5])]


def test_a_model_that_reads_no_pairs_has_no_attention(wishes: Wishes) -> None:
    desk = desk_of(wishes)
    assert Attention.of(desk.model) is None and desk.image(0)["attends"] is False
