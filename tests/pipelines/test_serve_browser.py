"""The search page in a real browser: search, filter, correct, take away, by mouse and by keys; nothing from outside,
nothing run that came as data, nothing complained of."""

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pipelines.serve import flow
from pipelines.serve.desk import Desk
from pipelines.serve.flow import Wishes, served
from pipelines.serve.review import Review
from tests.pipelines.answering import Answering

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
ATTACK = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium in PATH: the page was not opened in a browser")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def wishes(answered: Answering, tmp_path_factory: pytest.TempPathFactory) -> Wishes:
    folder = tmp_path_factory.mktemp("served")
    return Wishes(answered.run, root=answered.root, port=0, folder=folder / "index", review=folder / "review.csv")


Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Browser) -> Open:
    """Opens an address and, at the end of the block, holds the page to it that nothing was complained of or asked of
    any other server."""

    @contextmanager
    def visited(address: str, **options: Any) -> Iterator[Page]:
        context = browser.new_context(**options)
        page, complaints, outside = context.new_page(), [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: outside.append(request.url))
        page.goto(address)
        expect(page.locator("#status")).to_contain_text("images,")
        yield page
        context.close()
        assert complaints == []
        assert [url for url in outside if not url.startswith((address.partition("?")[0], "blob:"))] == []

    return visited


@pytest.fixture(scope="module")
def address(wishes: Wishes) -> Iterator[str]:
    with served(wishes) as where:
        yield where


def test_a_search_narrowed_opened_and_gone_on_from(visit: Open, address: str) -> None:
    with visit(address) as page:
        page.fill("#text", "a fox at night")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"text=a\+fox\+at\+night"))
        page.select_option("select[name=label]", "Vulpes vulpes")
        expect(page.locator("#status")).to_contain_text("74 images")
        assert set(page.locator(".card strong").all_inner_texts()) == {"Vulpes vulpes"}
        expect(page.locator("#page")).to_have_text("Page 1 of 2")
        page.click("#after")
        expect(page.locator(".card")).to_have_count(74 - 48)
        page.locator(".card > button").first.click()
        expect(page.locator("#look")).to_be_visible()
        expect(page.locator("#look-name")).to_have_text("Vulpes vulpes")
        expect(page.locator("#near img")).to_have_count(12)
        assert page.evaluate("document.querySelector('#look-image').naturalWidth") > 0
        page.click("#more")
        expect(page.locator("#like-words")).to_have_text("Images like this one")
        page.go_back()
        expect(page.locator("#text")).to_have_value("a fox at night")
        page.reload()
        expect(page.locator("#page")).to_have_text("Page 2 of 2")
        page.click("#reset")
        expect(page.locator("#status")).to_contain_text("360 images")


def test_the_first_image_has_neighbours_too(visit: Open, address: str) -> None:
    """Its number is 0."""
    with visit(address) as page:
        page.locator(".card > button").first.click()
        page.click("#more")
        expect(page.locator("#like-words")).to_be_visible()
        expect(page.locator(".card .small").nth(1)).to_contain_text("match 1.00")
        page.click("#after")
        expect(page.locator("#page")).to_have_text("Page 2 of 8")
        expect(page).to_have_url(re.compile(r"like=0"))


def test_labels_are_corrected_by_keyboard_alone(visit: Open, address: str, wishes: Wishes) -> None:
    with visit(f"{address}?label=Canis+lupus&light=day") as page:
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.locator("#look")).to_be_visible()
        page.keyboard.press("c")
        page.keyboard.type("Canis aureus")
        page.keyboard.press("Enter")
        expect(page.locator("#look-name")).to_have_text("Canis aureus")
        page.locator("#look-name").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#look-name")).to_have_text("Canis lupus")
        page.keyboard.press("b")
        expect(page.locator("#look-name")).to_have_text("blank")
        page.keyboard.press("u")
        expect(page.locator("#look-name")).to_have_text("Canis lupus")
        page.keyboard.press("a")
        expect(page.locator("#undo")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#look")).to_be_hidden()
        expect(page.locator(".card strong.said")).to_have_count(2)
        first, *_ = csv.DictReader(io.StringIO(wishes.review.read_text()))
        assert first["scientific_name"] == "Canis aureus" and len(Review(wishes.review)) == 2
        assert page.locator(".card > button:focus").count() == 1, "where the keyboard was before"


def test_picked_images_are_labelled_and_taken_away(visit: Open, address: str, wishes: Wishes) -> None:
    with visit(f"{address}?label=blank") as page:
        for n in (0, 2):
            page.locator(".card input").nth(n).check()
        expect(page.locator("#picked")).to_have_text("2 picked")
        page.click("#label-picked")
        page.select_option("#many-kind", "common")
        page.fill("#many-name", "wild boar")
        page.keyboard.press("Enter")
        expect(page.locator(".card strong.said")).to_have_text(["wild boar", "wild boar"])
        with page.expect_download() as download:
            page.click("#csv")
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        assert [row["corrected_name"] for row in rows] == ["wild boar", "wild boar"]
        page.click("#pick-none")
        with page.expect_download() as download:
            page.click("#csv")
        assert len(Path(download.value.path()).read_text().splitlines()) == 1 + 60, "all that was found"


def test_a_mistake_is_told_on_the_page(visit: Open, address: str, tmp_path: Path) -> None:
    (tmp_path / "no-image.jpg").write_bytes(b"text")
    with pytest.raises(AssertionError, match="status of 400"), visit(address) as page:  # the browser says that much
        page.set_input_files("#file", tmp_path / "no-image.jpg")
        expect(page.locator("#status.wrong")).to_contain_text("cannot be read as an image")


def test_an_image_file_is_searched_by(visit: Open, address: str, answered: Answering, tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(answered.archive.read("img/0007.jpg"))
    with visit(address) as page:
        page.set_input_files("#file", tmp_path / "mine.jpg")
        expect(page.locator("#like-words")).to_have_text("Images like mine.jpg")
        expect(page.locator(".card .small").nth(1)).to_contain_text("match 1.00")


@pytest.fixture
def hostile(wishes: Wishes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A page of which every text is an attack."""

    def attacked(given: Wishes) -> Desk:
        desk = real(given)
        about = desk.index.about
        for name in ("file", "survey", "event_id", "label", "caption", "species", "reason", "common_name", "split"):
            at = about.column_names.index(name)
            about = about.set_column(at, about.schema.field(name), pa.array([ATTACK] * len(about)))
        index = replace(desk.index, about=about, captions=[ATTACK] * len(desk.index.captions))
        facets = replace(desk.facets, names={name: [f"{one}{ATTACK}" for one in names]
                                             for name, names in desk.facets.names.items()})  # fmt: skip
        return replace(desk, index=index, facets=facets, selection=replace(desk.selection, index=index))

    real = flow.desk_of
    monkeypatch.setattr(flow, "desk_of", attacked)
    with served(replace(wishes, review=tmp_path / "review.csv")) as where:
        yield where


def test_nothing_that_comes_as_data_runs(visit: Open, hostile: str) -> None:
    with visit(f"{hostile}?text=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E") as page:
        page.locator(".card > button").first.click()
        expect(page.locator("#look-name")).to_have_text(ATTACK)
        page.fill("#name", ATTACK)
        page.click("#correct button[type=submit]")
        expect(page.locator("#undo")).to_be_visible()
        expect(page.locator("#status")).to_contain_text(ATTACK)
        assert "run" not in page.title() and page.locator("img[src=x], .card script, dialog script").count() == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wide", {"viewport": {"width": 1360, "height": 900}}),
        ("dark", {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"}),
        ("phone", {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}),
    ],
)
def test_it_fits_every_screen(visit: Open, address: str, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    with visit(address, **options) as page:
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "no sideways scrolling"
        paper = light_of(page, tmp_path / "list.png")
        assert paper < 80 if name == "dark" else paper > 200
        page.locator(".card > button").first.click()
        expect(page.locator("#look")).to_be_visible()
        box = page.locator("#look").bounding_box()
        assert box is not None and box["x"] >= 0 and box["width"] <= options["viewport"]["width"]
        assert page.evaluate("(look => look.scrollWidth - look.clientWidth)(document.querySelector('#look'))") <= 0
        for button in page.locator("#look button:visible, #look input:visible, #look select:visible").all():
            size = button.bounding_box()
            assert size is not None and size["height"] >= 32, "large enough for a finger"


def light_of(page: Page, file: Path) -> float:
    """How light the paper is, 0 to 255: most of a screenshot's left edge is paper."""
    page.screenshot(path=file)
    with Image.open(file) as image:
        return float(np.median(np.asarray(image.convert("L"))[:, :4]))


def test_all_that_can_be_used_has_a_name(visit: Open, address: str) -> None:
    """What a screen reader says: no button or field without words."""
    with visit(address) as page:
        page.locator(".card > button").first.click()
        expect(page.locator("#look")).to_be_visible()
        nameless = page.evaluate(
            """[...document.querySelectorAll("button, input, select, a")]
                .filter((one) => one.checkVisibility() && !one.textContent.trim() && !one.ariaLabel
                    && !one.labels?.length && !one.querySelector("img[alt]:not([alt=''])"))
                .map((one) => one.outerHTML)"""
        )
        assert nameless == []
