"""Archive health: what a dry run says of an archive adds up, is what prepare then does, and shows nobody."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.storage import Store, open_store
from pipelines.demo.files import PLANTED_LATITUDE, PLANTED_LONGITUDE, PLANTED_NAME
from pipelines.errors import DataRefused
from pipelines.health import words as health_words
from pipelines.health.bad import Estimate
from pipelines.health.content import HealthContent
from pipelines.health.gathered import ID, IMAGES
from pipelines.health.queue import queue_section
from pipelines.health.sample import alike, drawn, hashed, known_before
from pipelines.health.sample import taken as taken_keys
from pipelines.health.species import MOST_PLACES, MOST_SPECIES, counts_of, coverage_section
from pipelines.health.testable import testable_section
from pipelines.health.verb import listed
from pipelines.prepare.assigned import SPLITS
from pipelines.prepare.splits import REASONS
from pipelines.prepare.units import place_hash
from pipelines.recipe import Recipe
from pipelines.report import formats, render
from pipelines.report.page import LIMIT
from pipelines.taxa import species_keys
from tests.pipelines.archives import zip_of
from tests.pipelines.health_surveys import LISTED, TAKEN, frame, health, recipe_of, write
from tests.pipelines.road import contents, document, write_recipe, xmodal
from tests.pipelines.surveys import coco_settings, prepare, settings, write_coco
from tests.pipelines.test_prepare_flow import image
from tests.pipelines.test_report import ATTACK, LOADING, Page, chromium, requested
from xmodal.metrics.intervals import wilson
from xmodal.settings import parse

testable_section.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]


@pytest.fixture
def written(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "written"))
    write(store)
    return store


@pytest.fixture
def whole(written: Store, root: Store) -> HealthContent:
    """With every file read."""
    return health(recipe_of(written, root))


def fates(page: HealthContent) -> dict[str, int]:
    return {row.name: row.files for row in page.files.fates}


def uses(page: HealthContent) -> dict[str, int]:
    return {row.name: row.files for row in page.files.uses}


def forecast(page: HealthContent) -> tuple[dict[str, int], dict[str, int]]:
    """Images by split, and why in none, as a version document counts them."""
    counts = uses(page)
    unused = {name: counts.pop(name) for name in counts.keys() - set(SPLITS)}
    return counts | ({"none": sum(unused.values())} if unused else {}), unused


def tiny(archive: Store, root: Store, **changes: Any) -> Recipe:
    data = settings(archive.url, **changes).model_dump(mode="json")
    return parse(Recipe, document(archive.url, root.url, data=data))


def test_every_listed_file_is_counted_once(whole: HealthContent) -> None:
    assert fates(whole) == {"taken": TAKEN, "withheld": 1, "metadata": 1, "not_image": 1}
    assert whole.files.listed == LISTED and [row.files for row in whole.files.absent] == [1]
    assert sum(uses(whole).values()) == TAKEN and uses(whole)["unlabelled"] == 1
    (survey,) = whole.files.surveys
    assert (survey.listed, survey.taken, survey.refused, survey.missing) == (LISTED, TAKEN, 3, 1)


def test_bad_files_of_a_whole_reading_are_no_estimate(whole: HealthContent) -> None:
    assert [(row.name, row.now, row.examples) for row in whole.bad.rows] == [("truncated", 1, ["1/half.jpg"])]
    assert whole.bad.others == Estimate(TAKEN, TAKEN, 1) and whole.bad.others.interval is None
    (quality,) = whole.bad.surveys
    assert quality.files == TAKEN + 1 and quality.span == (2 / (TAKEN + 1), 2 / (TAKEN + 1)), "half and lost"


def test_copies_within_and_across_places(whole: HealthContent) -> None:
    (across,), (within,) = whole.copies.by_bytes.across, whole.copies.by_bytes.within
    assert [key for key, _ in across.files] == ["0/0.jpg", "2/copy.jpg"] and across.places == 2
    assert [key for key, _ in within.files] == ["3/0.jpg", "3/same.jpg"]
    assert whole.copies.by_bytes.extra == 2 and uses(whole).get("cross_split_duplicate", 0) <= 1


def test_clock_faults_by_camera(whole: HealthContent) -> None:
    rows = {row.name: (row.files, row.cameras) for row in whole.clocks.rows}
    assert rows["default_date"] == (1, 1) and whole.clocks.every == 6
    (camera,) = whole.clocks.cameras
    assert camera.example == "0/default.jpg" and (camera.distrusted, camera.files) == (1, 5)
    assert whole.clocks.timeline is not None
    assert whole.clocks.timeline.counts.sum() == TAKEN - 1, "the unnamed file has no time"
    assert whole.clocks.timeline.distrusted.sum() == whole.clocks.distrusted == 1
    months = [f"2024-0{n}" for n in range(1, 7)]
    assert whole.clocks.timeline.periods == [*months, "outside"], "one wrong year does not stretch the chart"
    assert whole.clocks.timeline.counts[:, -1].sum() == 1


def test_species_by_place_and_what_can_be_tested(whole: HealthContent) -> None:
    fox, lynx = whole.coverage.species
    assert (fox.label, fox.frames, len(fox.places)) == ("Vulpes vulpes", 28, 6)
    assert (lynx.label, lynx.frames, len(lynx.places)) == ("Lynx lynx", 2, 1)
    assert whole.coverage.matrix.sum() == 30 and whole.coverage.matrix.shape == (2, 6)
    assert whole.testable.tested == 1
    assert [(one.label, verdict.name) for one, verdict in whole.testable.untested] == [("Lynx lynx", "one_place")]
    assert whole.testable.by_places == [("1 place", 1), ("6 and more places", 1)]
    assert sum(row.images for row in whole.testable.splits) == whole.files.used
    assert sum(row.places for row in whole.testable.splits) == 6


def test_a_subspecies_counts_as_its_species_as_it_does_in_evaluation(tmp_path: Path, root: Store) -> None:
    """Boars train under the name of the species and are tested under that of a subspecies."""
    archive = open_store(str(tmp_path / "boars"))
    every = [frame(f"{place}/{n}.jpg", 2 if place == 5 else 1) for place in range(6) for n in range(4)]
    names = {"wild boar": "Sus scrofa", "Central European boar": "Sus scrofa scrofa"}
    write_coco(archive, every, {one["file_name"]: image(n) for n, one in enumerate(every)}, tuple(names))
    table = json.loads(archive.read("metadata.json"))
    table["categories"][1:] = [one | {"scientific_name": names[one["name"]]} for one in table["categories"][1:]]
    archive.put("metadata.json", json.dumps(table).encode())
    recipe = recipe_of(archive, root, split={"kind": "place", "held_out": ["valley 5"], "test": 0})
    page = health(recipe, sample=0)
    (boar,) = page.coverage.species
    assert (boar.label, boar.rank, boar.name) == ("Sus scrofa", "species", "wild boar")
    assert (boar.frames, len(boar.places)) == (24, 6)
    assert page.testable.tested == 1 and page.testable.higher == 0 and page.queue.shares == {"Sus scrofa": 1.0}
    told = prepare(recipe.data, root).records(["split", "facts"])
    keys = zip(told["split"].to_pylist(), species_keys(told["facts"].to_pylist()), strict=True)
    assert {(row.name, row.species) for row in page.testable.splits} == Counter(name for name, _ in set(keys)).items()


def test_licences(whole: HealthContent) -> None:
    counts = {row.name: row.files for row in whole.licences.rows}
    assert counts == {"CC BY-NC 4.0": 8, "CC BY 4.0": 20, None: 3}
    assert (whole.licences.non_commercial, whole.licences.unknown, whole.licences.files) == (8, 3, TAKEN)


def test_withheld_files_are_counts_alone(whole: HealthContent) -> None:
    assert [(row.name, row.files) for row in whole.withheld.rows] == [("human", 1)]
    page = render(whole)
    assert "person.jpg" not in page and "valley" not in page


def test_an_id_is_said_to_hide_no_more_than_it_does(whole: HealthContent) -> None:
    """Who can guess a place's name finds its id on the page."""
    page = render(whole)
    clocks, about = (page.partition(f'id="{name}"')[2].partition("</section>")[0] for name in ("clocks", "about"))
    assert place_hash("coco", "valley 0")[:ID] in clocks and "turned back" not in page
    assert "whoever can guess name or position can check the guess" in clocks
    assert "whoever can guess one can check the guess" in about


def images_of(**columns: list[Any]) -> pa.Table:
    """IMAGES that would be taken."""
    count = len(next(iter(columns.values())))
    rows = {name: [None] * count for name in IMAGES.names} | {"survey": ["s"] * count}
    rows |= {"listed": [True] * count, "first": [True] * count}
    return pa.table(rows | {"key": [str(n) for n in range(count)]} | columns, schema=IMAGES)


def test_false_negatives_are_queue_size_times_squared_shares() -> None:
    labels = ["a"] * 6 + ["b"] * 3 + [None]
    table = images_of(label=labels, kind=["animal"] * 9 + ["blank"], split=["train"] * 10)
    section = queue_section(table, 4096, 64, "mask", 1.0)
    assert section.agreement == pytest.approx(0.36 + 0.09 + 0.01)
    assert [(entries, expected) for _, entries, expected in section.sizes][:2] == [
        (63, pytest.approx(63 * 0.46)),
        (4096, pytest.approx(4096 * 0.46)),
    ]
    assert queue_section(table, 4096, 64, "mask", 0.0).agreement == pytest.approx(1 / 3)
    assert not queue_section(images_of(kind=["captioned"], split=["train"]), 4096, 64, "mask", 1.0)


@given(st.integers(1, 5000), st.integers(0, 400), st.integers(0, 400))
def test_an_estimate_never_contradicts_what_was_read(unread: int, sampled: int, bad: int) -> None:
    sampled = min(sampled, unread)
    one = Estimate(unread, sampled, min(bad, sampled))
    low, high = one.span
    assert one.bad <= low <= high <= unread - (sampled - one.bad)
    assert one.interval is None or one.interval == wilson(one.bad, sampled)


def test_a_sample_is_drawn_by_seed_and_spread_over_places(archive: Store, root: Store) -> None:
    run = listed(tiny(archive, root))
    (listing,) = run.listings
    taken = taken_keys(listing)
    place = dict(zip(*(listing.known.survey.media[name].to_pylist() for name in ("key", "place")), strict=True))
    first = drawn(run.listings, (), 18, seed=3)
    assert first == drawn(run.listings, (), 18, seed=3) != drawn(run.listings, (), 18, seed=4)
    assert len(set(first)) == 18
    sizes, met = Counter(place.get(key) for key in taken), Counter(place.get(key) for _, key in first)
    assert all(abs(met[name] - 18 * count / len(taken)) < 1 for name, count in sizes.items())
    assert drawn(run.listings, (), 10_000) == [("tiny", key) for key in sorted(taken)]
    assert drawn(run.listings, first, 10_000) == sorted({("tiny", key) for key in taken} - set(first))
    assert drawn(run.listings, (), 0) == []


def test_a_drawn_file_is_compared_with_all_of_its_size(written: Store, root: Store) -> None:
    run = listed(recipe_of(written, root))
    (listing,) = run.listings
    size = {("coco", key): listing.entries[key].size for key in taken_keys(listing)}
    names = drawn(run.listings, (), 6)
    found = alike(run.listings, names, set(names), 1000)
    same = {other for other, count in size.items() if count in {size[name] for name in names}}
    assert found.compared == set(names) and found.others == sorted(same - set(names))
    assert alike(run.listings, names, same, 0).compared == set(names), "what is known needs no reading"
    none = alike(run.listings, names, set(names), 0)
    lonely = {name for name in names if not {one for one in same - set(names) if size[one] == size[name]}}
    assert none.others == [] and none.compared == lonely
    (copy,) = hashed(run, [("coco", "2/copy.jpg")]).values()
    assert copy["sha256"] == hashlib.sha256(written.read("0/0.jpg")).digest()


def test_the_listing_tells_copies_in_zips_and_not_in_directories(tmp_path: Path, root: Store) -> None:
    """Loose files with one size and time of writing are none; members with one CRC-32 and size are."""
    archive = open_store(str(tmp_path / "archive"))
    loose = {f"{place}/a.jpg": image(place) for place in (2, 3)}
    assert len({len(data) for data in loose.values()}) == 1
    names = [*loose, "x.zip!/4/a.jpg", "x.zip!/5/a.jpg"]
    images = [{"id": name, "file_name": name, "location": name, "category": 1} for name in names]
    write_coco(archive, images, loose | {"x.zip": zip_of({"4/a.jpg": image(9), "5/a.jpg": image(9)})})
    for name in loose:
        os.utime(tmp_path / "archive" / name, (1e9, 1e9))
    found = health(recipe_of(archive, root), sample=0).copies.by_listing
    assert found.files == 2 and [[key for key, _ in one.files] for one in found.across] == [names[2:]]


@pytest.mark.parametrize("seed", range(3))
def test_copies_of_drawn_files_are_found_outside_of_the_sample(written: Store, root: Store, seed: int) -> None:
    """Four files have a copy, and every drawn one of these is known to, wherever its copy is."""
    for n in range(40):  # of a size of its own each, so that the few that are read for comparison suffice
        written.put(f"more/{n}.jpg", image(n) + bytes(1000 + n))
    recipe = recipe_of(written, root)
    page = health(recipe, sample=35, seed=seed)
    names = {key for _, key in drawn(listed(recipe).listings, (), 35, seed)}
    copied = names & {"0/0.jpg", "2/copy.jpg", "3/0.jpg", "3/same.jpg"}
    assert 0 < page.copies.compared <= 35 and page.copies.unread > 0
    assert page.copies.compared == len(names - {"1/half.jpg"}) and page.copies.copied == len(copied)
    assert page.copies.interval == wilson(len(copied), page.copies.compared)
    assert page.bad.others.sampled == 35, "what is only hashed is no part of the estimate"


def test_a_sample_says_its_size(archive: Store, root: Store) -> None:
    page = health(tiny(archive, root), sample=20)
    assert page.bad.others.sampled == 20 and page.bad.others.unread == page.files.taken
    text = " ".join(Page(render(page)).text.split())
    assert f"A sample: 20 of {page.files.taken} files" in text and "95 % interval" in text
    unread = health(tiny(archive, root), sample=0)
    assert "The bytes of" in Page(render(unread)).text and unread.bad.rows == []


def test_the_same_archive_gives_the_same_page(archive: Store, root: Store) -> None:
    recipe = tiny(archive, root)
    assert render(health(recipe, 20)) == render(health(recipe, 20))
    assert render(health(recipe, 20)) != render(health(recipe, 20, seed=1))


def test_what_is_prepared_is_told_from_the_ledger(archive: Store, root: Store, counted: Counter[str]) -> None:
    recipe = tiny(archive, root)
    dataset = prepare(recipe.data, root)
    counted.clear()
    before = contents(root)
    page = health(recipe)
    assert not [key for key in counted if key.startswith("images/")] and contents(root) == before
    (survey,) = dataset.document["surveys"]
    ledger = {f"rejected/{name}": count for name, count in fates(page).items()}
    assert page.files.taken == survey["counts"]["ok"] and page.bad.before_bad == 2
    assert {name: count for name, count in survey["counts"].items() if name in ledger} == {
        name: count for name, count in ledger.items() if name != "rejected/taken"
    }
    assert forecast(page) == (dataset.counts, survey["unused"])
    assert {row.name: row.files for row in page.clocks.rows}.items() <= survey["clock_flags"].items()


def test_a_changed_file_is_read_again(written: Store, root: Store) -> None:
    recipe = recipe_of(written, root)
    prepare(recipe.data, root)
    written.put("5/0.jpg", written.read("5/0.jpg")[:-40])
    written.put("5/new.jpg", written.read("4/0.jpg"))
    run = listed(recipe)
    assert drawn(run.listings, known_before(run), 300) == [("coco", "5/0.jpg"), ("coco", "5/new.jpg")]
    page = health(recipe)
    assert (page.bad.before, page.bad.before_bad, page.bad.others) == (TAKEN - 1, 1, Estimate(2, 2, 1))
    assert {row.name: (row.before, row.now) for row in page.bad.rows} == {"truncated": (1, 1)}


THIN: dict[str, Any] = {"thin": {"distance": 10}}
CROPS: dict[str, Any] = {"crops": {"margin": 0.1}}


@pytest.mark.parametrize("changes", [THIN, CROPS, THIN | CROPS])
def test_the_forecast_thins_and_crops_as_prepare_does(archive: Store, root: Store, changes: dict[str, Any]) -> None:
    recipe = tiny(archive, root, **changes)
    dataset = prepare(recipe.data, root)
    page = health(recipe)
    (survey,) = dataset.document["surveys"]
    unused = survey["unused"]
    assert forecast(page) == (dataset.counts, unused) and page.unlooked == 0
    assert ("near_duplicate" in unused) == ("thin" in changes)
    assert page.files.images == sum(dataset.counts.values()) and page.files.taken == survey["counts"]["ok"]
    assert (page.files.images > page.files.taken) == ("crops" in changes) == ("crops of single" in render(page))
    assert page.queue.frames == dataset.counts["train"]
    assert {row.name: row.images for row in page.testable.splits}.items() <= dataset.counts.items()
    assert f"{page.files.used} of them would train" in page.verdict


def test_near_duplicates_that_no_one_has_looked_for_are_said_to_be_unknown(archive: Store, root: Store) -> None:
    recipe = tiny(archive, root, **THIN)
    page = health(recipe, sample=0)
    beside = ("train", "blank_beyond_share", "event_label_without_box")
    assert "near_duplicate" not in uses(page) and page.unlooked == sum(uses(page)[name] for name in beside)
    assert "(some fewer: near duplicates are not known yet)" in page.verdict
    told = f"Near duplicates (data.thin) are not known yet: {page.unlooked} files that the split gives to train"
    assert all(told in section.caveats[0] for section in (page.files, page.testable, page.queue))
    assert " ".join(Page(render(page)).text.split()).count(told) == 3
    some, every = health(recipe, sample=30), health(recipe)
    assert 0 == every.unlooked < some.unlooked < page.unlooked and "not known yet" not in every.verdict
    assert uses(every)["near_duplicate"] > 0 and not health(tiny(archive, root), sample=0).unlooked


def test_every_reason_has_words_of_its_own() -> None:
    assert set(REASONS) <= health_words.REASONS.keys()


def test_the_forecast_of_an_unprepared_archive_is_what_prepare_does(written: Store, root: Store) -> None:
    written.delete(["1/half.jpg", "2/copy.jpg"])
    recipe = recipe_of(written, root)
    page = health(recipe, sample=0)
    dataset = prepare(recipe.data, root)
    assert forecast(page) == (dataset.counts, dataset.document["surveys"][0]["unused"])


def test_what_stands_in_the_way_is_said(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "one"))
    every = [frame(f"0/{n}.jpg") for n in range(4)]
    write_coco(archive, every, {one["file_name"]: image(n) for n, one in enumerate(every)})
    recipe = recipe_of(archive, root)
    page = health(recipe)
    with pytest.raises(DataRefused) as refused:
        prepare(recipe.data, root)
    assert page.files.obstacles == (str(refused.value),)
    assert page.verdict == f"A run would stop: {refused.value}." and "A run would stop." in render(page)


def test_an_archive_without_any_label_has_a_page(tmp_path: Path, root: Store) -> None:
    """It cannot be trained on, and that is what the page says."""
    archive = open_store(str(tmp_path / "unlabelled"))
    every = [frame(f"{n % 6}/{n}.jpg") for n in range(24)]
    write_coco(archive, [], {one["file_name"]: image(n) for n, one in enumerate(every)})
    recipe = recipe_of(archive, root)
    page = health(recipe)
    with pytest.raises(DataRefused) as refused:
        prepare(recipe.data, root)
    assert page.files.obstacles == (str(refused.value),) and "A run would stop." in render(page)
    assert fates(page)["taken"] == 24


def test_an_archive_of_metadata_alone_has_a_page_and_is_refused_with_counts(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "metadata"))
    write_coco(archive, [frame(f"{place}/0.jpg") for place in range(4)], {"notes.txt": b"notes"})
    survey = coco_settings(archive.url).model_dump(mode="json")["surveys"][0]
    page, data = tmp_path / "health.html", {"name": "coco", "surveys": [survey]}
    recipe = write_recipe(tmp_path / "recipe.yaml", archive.url, root.url, data=data)
    told = f"survey coco: no image that may be taken under {archive.url} (4 missing; 1 metadata; 1 not_image)"
    dry, reported = xmodal("prepare", recipe, "--dry-run"), xmodal("prepare", recipe, "--dry-run", "--report", page)
    assert dry.code == 0 and "not read: metadata 1, missing 4, not_image 1" in dry.out, dry
    assert dry.out.endswith(f"A run would stop: {told}.\n"), dry
    assert reported.code == 0 and reported.out.count(f"A run would stop: {told}.") == 1, reported
    assert told in Page(page.read_text()).text and not Path(root.url).exists()
    ended = xmodal("prepare", recipe)
    assert ended.code == 3 and told in ended.line, ended


def secrets_of(archive: Store, root: Store) -> Iterator[str]:
    """What the tiny survey holds and no page may."""
    (listing,) = listed(tiny(archive, root)).listings
    yield from (PLANTED_NAME, str(PLANTED_LATITUDE), str(PLANTED_LONGITUDE), f"{PLANTED_LATITUDE:.3f}")
    yield from (key for key, reason in listing.rejected.items() if reason == "withheld")
    # Folders of the survey are named after its places, and paths are shown: so only what is not in a path counts.
    paths = "".join(listing.entries)
    yield from (name for name in set(listing.known.survey.media["place"].to_pylist()) if name and name not in paths)


def test_no_secret_is_on_the_page(archive: Store, root: Store) -> None:
    planted = list(secrets_of(archive, root))
    source = b"".join(archive.read(entry.key) for entry in archive.list()) + "".join(contents(archive)).encode()
    assert len(planted) > 5 and PLANTED_NAME.encode() in source
    page = render(health(tiny(archive, root)))
    assert not [secret for secret in planted if secret in page]


@pytest.fixture
def hostile(tmp_path: Path, root: Store) -> str:
    """A page of an archive in which everything is named to break out of it."""
    archive = open_store(str(tmp_path / "hostile"))
    write(archive, (ATTACK, "Lynx lynx", "human"))
    text = archive.read("metadata.json").decode()
    text = text.replace("CC BY-NC 4.0", ATTACK.replace('"', '\\"')).replace("valley", ATTACK.replace('"', '\\"'))
    bad = '"><img src=x onerror=alert(1)>.jpg'
    archive.put(bad, b"")
    archive.put("metadata.json", text.encode())
    return render(health(recipe_of(archive, root)))


def test_hostile_names_appear_only_as_text(hostile: str, whole: HealthContent) -> None:
    parsed = Page(hostile)
    assert ATTACK in parsed.text and "onerror=alert(1)>.jpg" in parsed.text
    assert not parsed.all("script") and "<script" not in hostile and "<img src=x" not in hostile
    assert not [key for _, attributes in parsed.tags for key in attributes if key.startswith("on")]
    assert {tag for tag, _ in parsed.tags} <= {tag for tag, _ in Page(render(whole)).tags} | {"br"}


def test_the_page_loads_nothing_and_says_what_its_charts_show(whole: HealthContent) -> None:
    parsed = Page(render(whole))
    for _, attributes in parsed.tags:
        for key in LOADING & attributes.keys():
            assert re.match(r"data:|#", attributes[key] or ""), key
    assert len(parsed.all("img")) == 3 and all((one.get("alt") or "").strip() for one in parsed.all("img"))
    anchors = [one["id"] for one in parsed.all("section")]
    assert anchors == ["first", "files", "bad", "clocks", "copies", "species", "tests", "licences", "queue",
                       "withheld", "about"]  # fmt: skip
    assert parsed.text.count("What to do") == len(anchors) - 2, "every section but the first screen and the limits"


@pytest.mark.services
@pytest.mark.parametrize("kind", ["normal", "hostile"])
def test_in_a_browser_nothing_runs_nothing_is_requested_and_nothing_is_complained_of(
    kind: str, whole: HealthContent, hostile: str, tmp_path: Path
) -> None:
    path, log = tmp_path / "health.html", tmp_path / "net.json"
    path.write_text(hostile if kind == "hostile" else render(whole), encoding="utf-8")
    done = chromium(path, tmp_path / "profile", f"--log-net-log={log}", "--dump-dom")
    assert done.returncode == 0 and "CONSOLE" not in done.stderr, done.stderr
    assert "<script" not in done.stdout and "What can be tested" in done.stdout
    assert requested(log) == []


@pytest.mark.services
def test_it_prints(whole: HealthContent, tmp_path: Path) -> None:
    path, pdf = tmp_path / "health.html", tmp_path / "health.pdf"
    path.write_text(render(whole), encoding="utf-8")
    chromium(path, tmp_path / "profile", f"--print-to-pdf={pdf}")
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 20_000


def test_thousands_of_species_and_hundreds_of_places_stay_readable(whole: HealthContent) -> None:
    draws = np.random.default_rng(0)
    species = np.minimum(draws.zipf(1.3, 60_000), 8000)
    places = draws.integers(0, 500, 60_000)
    splits = np.array(["train", "val", "test"])[places % 3]
    table = images_of(
        label=[f"Genus species{one}" for one in species],
        rank=["species"] * 60_000,
        kind=["animal"] * 60_000,
        place=[f"{one:08x}" for one in places],
        split=splits.tolist(),
    )
    counts = counts_of(table)
    coverage, testable = coverage_section(table, counts), testable_section(table, counts, "place", ())
    assert len(counts) > 3000 and coverage.matrix.shape == (MOST_SPECIES + 1, MOST_PLACES + 1)
    assert coverage.matrix.sum() == 60_000 == sum(frames for *_, frames in coverage.classes)
    assert sum(number for _, number, _ in testable.fates) == len(counts)
    single = {one.label for one in counts if len(one.places) == 1}
    assert single <= {one.label for one, _ in testable.untested}
    page = render(replace(whole, coverage=coverage, testable=testable))
    assert len(page.encode()) < LIMIT / 4 and f"{formats.count(len(counts) - MOST_SPECIES)} others" in coverage.named
    assert page.count("<tr>") < 400


def test_the_verb_writes_the_page_and_nothing_else(archive: Store, tmp_path: Path, root: Store) -> None:
    recipe = write_recipe(tmp_path / "tiny.yaml", archive.url, root.url)
    page = tmp_path / "pages" / "health.html"
    ended = xmodal("prepare", recipe, "--dry-run", "--report", page, "--sample", "10")
    assert ended.code == 0, ended.err
    plain = xmodal("prepare", recipe, "--dry-run")
    *lines, verdict, where = ended.out.splitlines()
    assert lines == plain.out.splitlines() and verdict.startswith("Of ") and where == f"report: {page}"
    assert "<h1>tiny: what the archive holds</h1>" in page.read_text()
    assert not Path(root.url).exists() and [one.name for one in page.parent.iterdir()] == ["health.html"]


def test_mistakes_end_before_the_work_begins(archive: Store, tmp_path: Path, root: Store) -> None:
    recipe = write_recipe(tmp_path / "tiny.yaml", archive.url, root.url)
    (tmp_path / "file").write_text("")
    for words, told in [
        (["--report", tmp_path / "a.html"], "--report belongs to --dry-run"),
        (["--dry-run", "--sample", "5"], "--sample belongs to --report"),
        (["--dry-run", "--report", tmp_path, "--sample", "-1"], "--sample"),
        (["--dry-run", "--report", tmp_path], "a directory is there"),
        (["--dry-run", "--report", tmp_path / "file" / "a.html"], "cannot be written"),
    ]:
        ended = xmodal("prepare", recipe, *words)
        assert ended.code == 2 and told in ended.err and not ended.out, ended
    assert sorted(one.name for one in tmp_path.iterdir()) == ["archive", "file", "tiny.yaml"]


@pytest.mark.data
def test_the_real_frames(data_dir: Path, root: Store) -> None:
    overlay = {"kind": "megadetector", "path": "detections.megadetector.json", "images_prefix": "images"}
    source = {"kind": "coco_camera_traps", "metadata": "annotations.cct.json", "images_prefix": "images"}
    survey = {
        "name": "public-frames",
        "archive": str(data_dir / "cameratraps"),
        "source": source,
        "overlays": [overlay],
    }
    split = {"kind": "place", "val": 0.15, "test": 0.3, "seed": 40}
    data = {"name": "real", "surveys": [survey], "split": split}
    page = health(parse(Recipe, document("", root.url, data=data)), sample=40)
    assert fates(page) == {"taken": 820, "metadata": 2} and page.bad.others == Estimate(820, 40, 0)
    assert [(row.name, row.images) for row in page.testable.splits] == [("train", 414), ("val", 206), ("test", 190)]
    assert len(page.testable.species) == 22 and page.licences.unknown == 820
    assert len(render(page).encode()) < LIMIT / 10
