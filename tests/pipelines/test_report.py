"""The report page: loads nothing, escapes everything, says each thing beside its chance, and stays small."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.predictions.trust import Measured, MeasuredSpecies, Share
from pipelines.report import ReportContent, embedding_map, formats, pictures, render, rows, sections, survey_sections
from pipelines.report.charts import DARK, LIGHT
from pipelines.report.page import LIMIT
from pipelines.report.verdict import beside, sentence, where_not
from xmodal.metrics import Figure, calibration, classification
from xmodal.metrics.intervals import Interval, wilson

ATTACK = '"><script>alert(1)</script>'
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "formaction", "xlink:href"}


def jpeg(seed: int, side: int = 64) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def picture(seed: int = 0, alt: str = "Camera-trap frame") -> rows.Picture:
    return rows.Picture(jpeg(seed), alt, 640, 480)


def heat(alt: str = "Red fox") -> rows.Heat:
    """All attention on the first of four patches; the box is the right lower quarter."""
    weights = np.array([[0.7, 0.0], [0.0, 0.0]])
    return rows.Heat(picture(4, alt), weights, np.array([[0.5, 0.5, 0.5, 0.5]]), 0.0, 0.25)


def figure(value: float = 58.2, name: str = "test/species/micro", label: str = "Species right") -> Figure:
    return Figure(name, value, 24.0, 51.6, 64.4, 658, label=label, note="9 places resampled", baseline=31.4)


def ahead(value: float = 9.8, low: float | None = 4.1, high: float | None = 15.0) -> Figure:
    return Figure("test/speciesnet/ahead/all/micro", value, 0.0, low, high, 412, "points", label="Model minus other")


def incumbents(species: str) -> survey_sections.Incumbents:
    named = [
        rows.BesideRow(species, 40, 0.4, 0.75, Interval(-0.5, -0.2)),
        rows.BesideRow("Lynx lynx", 16, 0.5, 0.5, None, trained=False),
        rows.BesideRow("Sus scrofa", 90, 0.9, 0.6, Interval(0.2, 0.4)),
    ]
    pair = rows.Pair(species, replace(figure(44.1), chance=None), figure(label=species), ahead(), 0.987)
    places = [rows.BesideRow("3fa8c1", 30, 0.8, 0.9, Interval(-0.2, 0.1))]
    silent = rows.Incumbent(
        "MegaDetector", species, species, None, [rows.Pair("Missed", figure(name="test/blank"))], species
    )
    return survey_sections.Incumbents(
        [rows.Incumbent(species, species, species, ahead(), [pair], species, named, places, 10), silent]
    )


def confidence() -> survey_sections.Confidence:
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.2, 1, 400)
    right = (generator.random(400) < sure - 0.15).astype(float)
    found = calibration.bins(sure, right)
    return survey_sections.Confidence([figure(label="Calibration error")], found, 0.6, 0.44)


def review(species: str) -> survey_sections.Review:
    share = Share(value=0.7, low=0.6, high=0.8, n=40)
    own = MeasuredSpecies(answered=share, right=None)
    tested = Measured(frames=40, places=3, answered=share, right=share, looks=share, bare=0.9, species={species: own})
    return survey_sections.Review(tested, [figure(label=species)], 1200)


def conditions(species: str) -> survey_sections.Conditions:
    groups = [rows.FigureGroup("Day and night", [figure(label=species)], species),
              rows.FigureGroup("Blank frames", [], "No test image is recorded blank.")]  # fmt: skip
    new = [rows.NewSpeciesRow(species, 31, 0.4, Interval(0.1, 0.6), species)]
    return survey_sections.Conditions(groups, new)


def survey(species: str = "Vulpes vulpes") -> ReportContent:
    """A report with every section, about `species` and two others."""
    classes = [species, "Lynx lynx", "Sus scrofa"]
    counts = np.array([[30, 5, 1], [4, 12, 0], [0, 0, 0]])
    cells = [cell for cell, n in np.ndenumerate(counts) for _ in range(n)]
    shown, said = ([classes[cell[side]] for cell in cells] for side in (0, 1))
    places = [str(n % 3) for n in range(len(cells))]
    points = np.random.default_rng(0).normal(size=(36, 2))
    labels = [species] * 20 + ["Lynx lynx"] * 16
    return ReportContent(
        title=f"Report on {species}",
        verdict=sentence(figure(), f"naming {species}"),
        headline=[figure(), figure(name="test/t2i/r1", label=species)],
        subtitle=species,
        data=sections.Data(
            species,
            [rows.SurveyRow(species, "Camtrap DP", 60, 52)],
            [rows.LedgerRow("ok", "", 52), rows.LedgerRow("rejected", "not_image", 8)],
            {species: 52},
            [rows.SplitRow("test", 52, 4, 2)],
        ),
        species=sections.Species(
            classification.per_class(shown, said, classes, places), [figure()], {species: species}
        ),
        incumbents=incumbents(species),
        events=survey_sections.Events([rows.FigureGroup("Events", [figure(label=species)], species)]),
        conditions=conditions(species),
        confidence=confidence(),
        review=review(species),
        examples=sections.Examples(
            [rows.TextExample(species, [rows.ImageAnswer(picture(1, species), species, False)], 7)],
            [rows.ImageExample(picture(2, species), species, [rows.Answer(species, True, 0.5)])],
            17,
        ),
        places=sections.Places(
            [figure()],
            [rows.PlaceRow(species, False, 40, 0.2, wilson(8, 40))],
            [rows.Sides(species, figure(), figure(71.3), ahead())],
        ),
        measures=sections.Measures([rows.FigureGroup(species, [figure(name=species, label="")], species)]),
        confusion=sections.Confusion(classes, counts),
        captions=sections.Captions([rows.CaptionExample(picture(3, species), species, [species])]),
        attention=sections.Attention([heat(species)]),
        curves=sections.Curves(
            {
                species: {"train": [(0, 2.0), (10, 1.0)], "val": [(0, 2.0), (5, float("nan"))]},
                "Queue": {"": [(0, 0.0), (5, 0.0)]},
                "nothing": {"val": []},
            }
        ),
        map=sections.Map(points, labels),
        about=sections.About([species], [species], f"name: {species}", {species: species}),
    )


def captioned() -> ReportContent:
    """What a captioned image set has to say: no species, no places."""
    groups = [rows.FigureGroup("Texts found for an image", [figure(26.2, "test/i2t/r1", "Right one first")])]
    example = rows.CaptionExample(picture(), "a dog runs", ["A dog runs.", "A brown dog in the snow."])
    return ReportContent(
        "Flickr8k", "…", [figure()], measures=sections.Measures(groups), captions=sections.Captions([example])
    )


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def page() -> str:
    return render(survey())


def test_a_hostile_name_appears_only_as_text():
    written = render(survey(ATTACK))
    parsed = Page(written)
    assert not parsed.all("script") and "<script" not in written
    assert ATTACK in parsed.text
    assert not [key for _, attributes in parsed.tags for key in attributes if key.startswith("on")]
    assert {tag for tag, _ in parsed.tags} == {tag for tag, _ in Page(render(survey())).tags}


def test_nothing_is_loaded_from_anywhere(page):
    parsed = Page(page)
    for _, attributes in parsed.tags:
        for key in LOADING & attributes.keys():
            assert re.match(r"data:|#", attributes[key] or ""), (key, (attributes[key] or "")[:60])
    assert not re.search(r"url\(|@import", page)
    policy = [meta["content"] for meta in parsed.all("meta") if "http-equiv" in meta]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_image_says_what_it_shows_and_every_chart_has_a_table(page):
    parsed = Page(page)
    assert len(parsed.all("img")) >= 3 + 1 + 2 + 2 + 1
    assert all((image.get("alt") or "").strip() for image in parsed.all("img"))
    assert len(parsed.all("details")) >= 5
    assert len(page.encode()) < LIMIT


def test_the_same_content_gives_the_same_bytes(page):
    assert render(survey()) == page


def test_sections_stand_in_reading_order_and_only_where_there_is_something_to_say(page):
    order = [section["id"] for section in Page(page).all("section")]
    assert order == ["first", "data", "species", "incumbents", "events", "examples", "places", "conditions",
                     "confidence", "review", "measures", "confusion", "captions", "attention", "training",
                     "map", "about"]  # fmt: skip
    flickr = Page(render(captioned()))
    assert [section["id"] for section in flickr.all("section")] == ["first", "measures", "captions"]
    assert "Right one first" in flickr.text and "Generated images" not in flickr.text
    bare = ReportContent("Empty", "Nothing was measured.", [])
    assert [section["id"] for section in Page(render(bare)).all("section")] == ["first"]


def test_what_is_left_to_people_is_told_with_its_interval(page):
    text = " ".join(Page(page).text.split())
    assert "70.0 % (60.0 to 80.0) can be accepted unseen, of which 70.0 % (60.0 to 80.0) are right." in text
    assert "Of the 1,200 images of this version that nobody has labelled 360 (240 to 480) remain" in text
    assert "in some 840 looks: about 2.3 (2.0 to 2.7) hours at 10 s a look, which is assumed." in text
    assert survey_sections.Review().finding == "" and not survey_sections.Review()


def test_each_figure_stands_beside_interval_and_chance(page):
    text = " ".join(Page(page).text.split())
    assert text.count("51.6–64.4 %") >= 4
    assert "chance 24.0 %" in text and "place only 31.4 %" in text
    assert "What became of 60 files" in text and "not image" in text


def test_what_is_zero_all_along_is_said_and_not_drawn(page):
    training = page.partition('id="training"')[2].partition("</section>")[0]
    assert "Zero all along: Queue." in training and training.count("<figcaption>") == 1


def test_licences_that_forbid_commercial_use_say_so():
    licences = {"CC BY-NC 4.0": 30, "CC BY 4.0": 20, "none stated": 2, "Attribution-NonCommercial License": 5}
    content = survey()
    text = Page(render(replace(content, data=replace(content.data, licences=licences)))).text
    assert "CC BY-NC 4.0 (non-commercial)" in text and "CC BY 4.0 (non-commercial)" not in text
    assert "35 images may not be used commercially" in text
    assert "commercially" not in Page(render(survey())).text


def test_generated_data_say_so():
    assert "Generated images." in Page(render(replace(captioned(), generated=True))).text


def test_rare_species_are_marked_in_words_and_untested_ones_named(page):
    species = page.partition('id="species"')[2].partition("</section>")[0]
    marked = re.findall(r'<tr class="(few|enough)">\s*<th scope="row">([^<]*)<', species)
    assert marked == [("enough", "Vulpes vulpes"), ("few", "Lynx lynx")]
    assert "few images" in page and "without a test image: Sus scrofa." in page


def species_section(count: int) -> str:
    """As a report shows `count` species, each rarer than the one before it."""
    names, interval = [f"Genus s{n:05}" for n in range(count)], Interval(0.25, 0.75)
    known = [
        classification.ClassRow(name, 2 * count - n, 3, 1, 0.5, interval, 0.4, interval) for n, name in enumerate(names)
    ]
    named = {row.name: f"common name {row.name}" for row in known}
    page = render(replace(survey(), species=sections.Species(known, [figure()], named)))
    return page.partition('id="species"')[2].partition("</section>")[0]


def test_every_species_has_its_figures_on_the_page():
    """The rarer ones in a table that opens."""
    shown = Page(species_section(93)).text
    names = [f"Genus s{n:05}" for n in range(93)]
    assert all(shown.count(f"common name {name}") == 1 for name in names)
    assert "80 of 93, the others in a table below" in shown and "13 rarer species" in shown
    drawn, _, opened = species_section(93).partition("<details>")
    assert [name in drawn for name in names] == [True] * 80 + [False] * 13
    assert opened.count("50\u202f% (25–75\u202f%)") == 13 and opened.count("40\u202f% (25–75\u202f%)") == 13
    few = species_section(80)
    assert "<details>" not in few and "in a table below" not in few


def test_all_species_of_inaturalist_fit_into_a_page():
    assert len(species_section(8142).encode()) < LIMIT / 2


def test_thumbnails_shrink_until_the_page_fits(monkeypatch):
    big = rows.Picture(jpeg(5, 400), "Noise")
    noisy = replace(captioned(), captions=sections.Captions([rows.CaptionExample(big, "noise", ["noise"])] * 3))
    largest = len(render(noisy).encode())
    monkeypatch.setattr("pipelines.report.page.LIMIT", largest - 1)
    assert len(render(noisy).encode()) < largest - 1


def test_too_many_examples_are_refused_in_one_line():
    huge = replace(captioned(), verdict="x" * LIMIT)
    with pytest.raises(ValueError, match="more than 5 MB: give it fewer examples"):
        render(huge)


def test_a_squashed_picture_gets_its_proportions_back():
    address = pictures.webp(rows.Picture(jpeg(1, 224), "Frame", 1600, 900), 160, 60)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        assert image.size == (160, 90)


def test_attention_glows_over_a_grey_picture_with_the_boxes_around():
    address = pictures.heated(heat(), 160, 95)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        shown = np.asarray(image.convert("RGB")).astype(float)
    assert shown.shape == (120, 160, 3)
    corner, far = shown[:30, :40].mean((0, 1)), shown[:20, -30:].mean((0, 1))
    assert corner[0] - corner[2] > 100 and abs(far[0] - far[2]) < 12
    assert shown[60, 90:150].mean() > 220  # the upper edge of the box
    assert shown[40, 90:150].mean() < 180


def test_a_picture_says_how_much_of_the_attention_is_in_the_boxes(page):
    text = " ".join(Page(page).text.split())
    assert "0.0 % of the attention is in the boxes, which are 25.0 % of the patches" in text


def test_confusion_folds_rare_species_and_lists_the_mistakes():
    counts = np.array([[8, 2, 0, 0], [1, 5, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
    part = sections.Confusion(["a", "b", "c", "d"], counts, most=2)
    names, folded = part.drawn
    assert names == ["a", "b", "2 others"]
    assert folded.tolist() == [[8, 2, 0], [1, 5, 1], [0, 0, 1]]
    assert part.mistakes == [("a", "b", 2, 10), ("b", "a", 1, 7), ("b", "d", 1, 7)]


def test_an_id_of_a_place_is_said_to_hide_no_more_than_it_does(page):
    places = page.partition('id="places"')[2].partition("</section>")[0]
    assert "whoever can guess name or position can check the guess" in places and "turned back" not in page


def test_worst_places_need_enough_images():
    places = [
        rows.PlaceRow(name, True, n, share, None) for name, n, share in [("x", 2, 0), ("y", 9, 0.5), ("z", 9, 0.1)]
    ]
    assert [row.place for row in sections.Places(rows=places).worst] == ["z", "y"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(51.6, 64.4, "better than guessing"), (20, 30, "cannot be told from guessing"), (1, 9, "worse than guessing"),
     (None, None, "too few groups for an interval")],
)  # fmt: skip
def test_the_verdict_claims_what_the_interval_allows(low, high, said):
    assert said in sentence(replace(figure(), low=low, high=high))


def test_numbers_read_well():
    assert formats.number(58.21) == "58.2\u202f%" and formats.number(float("nan")) == "—"
    assert formats.number(-2.606, "") == "−2.61" and formats.number(273.31, "") == "273.3"
    assert formats.number(5.0, "rank") == "5" and formats.count(40455) == "40\u202f455"
    assert formats.span(replace(figure(), low=-2.0, high=1.0, unit="")) == "−2.00 to\u202f1.00"
    assert formats.span(replace(figure(), low=None)) == "no interval"
    assert formats.number(-9.84, "points") == "−9.8" and formats.span(ahead(low=-4.1)) == "−4.1 to\u202f15.0"
    assert [formats.points(share) for share in (0.304, -0.35, 0.001)] == ["+30", "−35", "0"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(4.1, 15.0, "is better than SpeciesNet, by 9.8 percentage points (95 % interval 4.1–15.0)"),
     (-3.0, 15.0, "cannot be told from SpeciesNet"),
     (-20.0, -1.0, "is worse than SpeciesNet, by 9.8 percentage points"),
     (None, None, "9.8 percentage points ahead of SpeciesNet; too few places for an interval")],
)  # fmt: skip
def test_what_was_there_before_is_beaten_only_where_the_interval_says_so(low, high, said):
    told = beside(ahead(9.8, low, high), "SpeciesNet", "naming the species").replace("\u202f", " ")
    assert told.startswith("At naming the species, on the same 412 frames, the model") and said in told


def test_where_the_incumbent_is_ahead_is_counted_and_shown(page):
    told = "Vulpes vulpes is ahead for 1 of 3 species with at least 10 frames, for 1 of them beyond chance."
    assert where_not(incumbents("Vulpes vulpes").parts[0].species, "Vulpes vulpes", "species", 10) == told
    assert where_not([], "SpeciesNet", "places", 10) == "No places with 10 such frames."
    text = " ".join(Page(page).text.split())
    assert told in text and "is ahead for 1 of 1 places with at least 10 frames, for 0 of them beyond chance." in text
    assert "Unseen beside seen places" in text and "seen minus unseen: 9.8 points, interval 4.1–15.0" in text
    assert (
        "the model has never seen it" in text and "4.1–15.0 better in 99 %" in text and "−35" in text and "+30" in text
    )


def test_a_group_without_figures_says_why_and_a_model_that_is_too_sure_is_told_so(page):
    text = " ".join(Page(page).text.split())
    assert "No test image is recorded blank." in text
    assert "gives its answer 60 % and is right in 44 % of the images: too sure by 16 points." in text


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, success criterion 1.4.3."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_light_and_dark():
    css = (Path(sections.__file__).parent / "style.css.j2").read_text()
    palettes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)]
    light, dark, paper = palettes  # print takes the light one on white
    for colours in (light, dark, light | paper):
        for text in ("ink", "muted", "accent", "chance", "wrong"):
            assert contrast(colours[text], colours["paper"]) >= 4.5, text
    for theme in (LIGHT, DARK):
        assert all(contrast(text, theme.paper) >= 4.5 for text in (theme.ink, theme.muted, theme.accent))


def test_map_is_repeatable_bounded_and_measured():
    generator = np.random.default_rng(0)
    vectors = np.concatenate([generator.normal(centre, 0.1, (30, 8)) for centre in (0, 5)])
    kept, points = embedding_map.project(vectors, seed=1, limit=40)
    again = embedding_map.project(vectors, seed=1, limit=40)
    assert np.array_equal(points, again[1]) and len(points) == 40 and np.array_equal(kept, np.sort(again[0]))
    labels = ["left" if row < 30 else "right" for row in kept]
    table = embedding_map.alike(points, labels)
    assert sum(dots for dots, _, _ in table.values()) == 40
    assert all(same > 0.9 and chance < 0.7 for _, same, chance in table.values())
    assert len(embedding_map.project(vectors[:3])[1]) == 0
    assert len(embedding_map.project(np.full((20, 8), 0.1))[1]) == 0, "all alike"


def chromium(page: Path, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Opens the page headless, its console and network log on stderr."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium in PATH: the page was not opened in a browser")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
             f"--user-data-dir={profile}"]  # fmt: skip
    command = [browser, *quiet, "--enable-logging=stderr", *options, page.as_uri()]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, env={**os.environ, "HOME": str(profile)}
    )


def requested(log: Path) -> list[str]:
    """What the page asked for. The browser's own errands in the log come from no page, "not an origin"."""
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    pages = [params for params in asked if params.get("initiator", "not an origin") != "not an origin"]
    return [params["url"] for params in pages if not params["url"].startswith("data:")]


@pytest.mark.services
def test_in_a_browser_nothing_runs_nothing_is_requested_and_nothing_is_complained_of(tmp_path):
    path, log = tmp_path / "report.html", tmp_path / "net.json"
    path.write_text(render(survey(ATTACK)), encoding="utf-8")
    done = chromium(path, tmp_path / "profile", f"--log-net-log={log}", "--dump-dom")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    assert "<script" not in done.stdout and "Right and wrong" in done.stdout
    assert requested(log) == []


@pytest.mark.services
def test_the_browser_test_would_notice(tmp_path):
    path, log = tmp_path / "bad.html", tmp_path / "net.json"
    path.write_text('<script>console.error("noise")</script><img src="http://127.0.0.1:9/x.png">', encoding="utf-8")
    done = chromium(path, tmp_path / "profile", f"--log-net-log={log}", "--dump-dom")
    assert "CONSOLE" in done.stderr
    assert requested(log) == ["http://127.0.0.1:9/x.png"]


@pytest.mark.services
def test_it_prints(tmp_path):
    path, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(render(survey()), encoding="utf-8")
    chromium(path, tmp_path / "profile", f"--print-to-pdf={pdf}")
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 20_000
