"""Every kind of bad file has its documented outcome, and no good file is lost with one: decoder, prepare, Ray."""

import hashlib
import importlib
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from infra.storage import Store, open_store
from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.prepare import flow, items, listing
from pipelines.prepare.images import ahead
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.verb import told
from pipelines.prepare.workers import RayWorkers
from pipelines.sources.formats import EXTENSIONS, mismatched
from tests.pipelines.bad_files import Kind, encoded, kinds, orientation, picture
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT, coco_settings, prepare, write_coco
from xmodal.decoding import REASONS, decode, has_end, pixel_reader
from xmodal.settings import SettingsError
from xmodal.transforms import FRAME, BadImage, PixelSettings, prepare_image, resized

DOCS = Path(__file__).parents[2] / "docs" / "bad-files.md"
DECODERS = ("pillow", "simplejpeg")
GOOD, PLACES = 200, 20
BY_NAME = "Thumbs.db"
"""The one file that is not even read."""

Outcome = tuple[str | None, str | None, int | None]


@pytest.fixture(params=DECODERS)
def pixels(request: pytest.FixtureRequest) -> PixelSettings:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    return PixelSettings(size=32, decoder=request.param)


def outcome(data: bytes, pixels: PixelSettings) -> Outcome:
    try:
        image = prepare_image(data, pixels)
    except BadImage as bad:
        assert bad.reason in REASONS and "\n" not in str(bad)
        return bad.reason, None, None
    return None, image.format, image.exif_turn


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_a_kind_has_its_outcome(kind: Kind, pixels: PixelSettings) -> None:
    assert outcome(kind.data, pixels) == kind.outcome(pixels.decoder)


def test_the_table_of_the_docs_says_so() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in DOCS.read_text().splitlines() if "|" in line]
    documented = {row[0]: row[1:3] for row in rows}
    assert len(kinds()) >= 30 and len({kind.name for kind in kinds()}) == len({kind.file for kind in kinds()})
    for kind in kinds():
        plain, strict = (kind.outcome(decoder) for decoder in DECODERS)
        said = [f"`{reason}`" if reason else f"taken, {magic}" for reason, magic, _ in (plain, strict)]
        turned = f", turn {kind.turn}" if kind.turn > 1 else ""
        assert documented[kind.name] == [said[0] + turned, "the same" if said[0] == said[1] else said[1]], kind.name
    assert len(documented) == len(kinds()) + 2  # head and rule


def careless(folder: Path) -> None:
    """A library that sets Pillow's switches for the whole process when it is imported."""
    (folder / "careless_loader.py").write_text(
        "from PIL import Image, ImageFile\nImageFile.LOAD_TRUNCATED_IMAGES = True\nImage.MAX_IMAGE_PIXELS = None\n"
    )
    sys.path.insert(0, str(folder))
    try:
        sys.modules.pop("careless_loader", None)
        importlib.import_module("careless_loader")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts Pillow's switches back after the test."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK)


@pytest.mark.usefixtures("switches")
def test_no_switch_of_another_library_hides_half_an_image(tmp_path: Path, pixels: PixelSettings) -> None:
    careless(tmp_path)
    PngImagePlugin.MAX_TEXT_CHUNK = 1 << 30
    for kind in kinds():
        assert outcome(kind.data, pixels) == kind.outcome(pixels.decoder), kind.name
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True and Image.MAX_IMAGE_PIXELS is None  # what others set stays theirs
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 30
    Image.MAX_IMAGE_PIXELS = 100  # nor does one lose a good file
    assert outcome(encoded(picture()), pixels) == (None, "JPEG", 1)


@pytest.mark.usefixtures("switches")
def test_switches_hold_in_all_threads_that_decode_at_once(tmp_path: Path, pixels: PixelSettings) -> None:
    careless(tmp_path)
    cut = encoded(picture(), "PNG")[:-3000]  # a format whose end only Pillow's own check guards
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: outcome(cut, pixels)[0], range(64)))
    assert set(found) == {"truncated"} and ImageFile.LOAD_TRUNCATED_IMAGES is True


@cache
def sound() -> dict[str, bytes]:
    """Whole JPEGs of every making."""
    image, exif = picture(333, 251), orientation(6)
    thumbnail = encoded(picture(32, 24))
    return {
        "4:4:4": encoded(image, quality=95, subsampling="4:4:4"),
        "4:2:2": encoded(image, quality=88, subsampling="4:2:2"),
        "4:2:0": encoded(image, quality=70, subsampling="4:2:0"),
        "progressive": encoded(image, progressive=True),
        "restarts": encoded(image, restart_marker_rows=1),
        "optimised": encoded(image, optimize=True),
        "grey": encoded(image.convert("L")),
        "RGB inside": encoded(image, keep_rgb=True),
        "CMYK": encoded(image.convert("CMYK")),
        "turned": encoded(image, exif=exif),
        "preview": (whole := encoded(image))[:2]
        + b"\xff\xe1"
        + (len(thumbnail) + 2).to_bytes(2)
        + thumbnail
        + whole[2:],
        "three frames": encoded(image, "MPO", save_all=True, append_images=[picture(seed=1)]),
    }


@pytest.mark.parametrize("name", sound())
@pytest.mark.parametrize("side", [None, 125, 62, 31])
def test_at_one_scale_both_decoders_give_the_same_pixels(name: str, side: int | None) -> None:
    """Of 333 x 251 pixels: whole, and at scales 1/2, 1/4 and 1/8."""
    pytest.importorskip("simplejpeg")
    one, two = (decode(sound()[name], side, 16, 100, pixel_reader(decoder)) for decoder in DECODERS)
    assert torch.equal(one.pixels[:3], two.pixels[:3])
    assert one.extent == two.extent
    assert (one.width, one.height, one.stated_turn, one.format) == (two.width, two.height, two.stated_turn, two.format)


@pytest.mark.parametrize("side, eighths", [(300, 8), (221, 8), (220, 7), (157, 5), (96, 4), (95, 3), (1, 1)])
def test_simplejpeg_reads_at_the_smallest_number_of_eighths_that_keeps_the_side(side: int, eighths: int) -> None:
    """Of 333 x 251 pixels; libjpeg-turbo rounds the rows and columns up, and the extent says how far they reach."""
    pytest.importorskip("simplejpeg")
    decoded = decode(sound()["4:2:0"], side, 16, 100, pixel_reader("simplejpeg"))
    assert decoded.extent == (333 * eighths / 8, 251 * eighths / 8)
    assert decoded.pixels.shape[1:] == (math.ceil(251 * eighths / 8), math.ceil(333 * eighths / 8))


def test_at_another_scale_the_small_image_shows_the_same() -> None:
    """At 3/8 where Pillow reads at 1/2: 50 dB between the two at most, of a whole frame and of a part of it."""
    pytest.importorskip("simplejpeg")
    data = encoded(picture(1333, 1001), quality=95)
    for within in (FRAME, (0.1, 0.3, 0.55, 0.6)):
        made = []
        for decoder in DECODERS:
            decoded = decode(data, 320, 16, 100, pixel_reader(decoder))
            made.append(resized(decoded, PixelSettings(size=160), within).double())
        assert 10 * torch.log10(255**2 / (made[0] - made[1]).square().mean()) > 40


def test_the_smallest_images_are_the_same_too() -> None:
    """Below 8 pixels simplejpeg cannot tell two scales apart by the size."""
    pytest.importorskip("simplejpeg")
    for width, height in [(1, 1), (4, 4), (7, 7), (7, 60), (8, 8), (9, 17), (15, 8)]:
        data = encoded(picture(width, height), quality=95)
        for side in (None, 2, 4) if min(width, height) < 8 else (None,):
            one, two = (decode(data, side, 1, 100, pixel_reader(decoder)).pixels[:3] for decoder in DECODERS)
            assert torch.equal(one, two), (width, height, side)


@cache
def of_other_formats() -> dict[str, bytes]:
    """Whole files that are no JPEGs."""
    image = picture(333, 251)
    return {
        "PNG": encoded(image, "PNG"),
        "palette PNG": encoded(image.convert("P"), "PNG"),
        "GIF": encoded(image, "GIF"),
        "TIFF lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF": encoded(image, "TIFF"),
        "BMP": encoded(image, "BMP"),
        "WEBP": encoded(image, "WEBP"),
        "WEBP lossless": encoded(image, "WEBP", lossless=True),
    }


TAIL_UNSEEN = {"TIFF", "BMP", "WEBP", "WEBP lossless"}
"""Where bytes behind the cut cannot be told from a picture's."""


@tries(deadline=None, max_examples=150)
@given(
    name=st.sampled_from(sorted(sound().keys() - {"three frames"}) + sorted(of_other_formats())),
    cut=st.floats(0.02, 0.999),
    tail=st.sampled_from([b"", b"\0", b"\xff"]),
)
def test_a_cut_picture_never_passes(name: str, cut: float, tail: bytes) -> None:
    """Wherever a file was cut, and whatever fills the card behind the cut, where that can be told."""
    whole = (sound() | of_other_formats())[name]
    filled = b"" if name in TAIL_UNSEEN else tail * (4 * len(whole))
    data = whole[: int(cut * (len(whole) - 2))] + filled
    assert outcome(data, PixelSettings(size=32))[0] in ("truncated", "decode_error")


@pytest.mark.parametrize("options", [{"quality": 80, "method": 0}, {"lossless": True, "quality": 0, "method": 0}])
def test_a_whole_webp_may_end_in_zeros_as_one_with_a_null_tail_does(options: dict[str, Any]) -> None:
    """A black lower part is zeros to the end: a long run of them says nothing, and docs/bad-files.md names it."""
    image = picture(1024, 768)
    image.paste((0, 0, 0), (0, 230, 1024, 768))
    whole = encoded(image, "WEBP", **options)
    assert len(whole) - len(whole.rstrip(b"\0")) > 10_000
    assert outcome(whole, PixelSettings(size=32))[0] is None


def test_the_end_is_looked_for_behind_the_scan() -> None:
    whole = sound()["preview"]
    assert has_end(whole) and has_end(whole + b"\0" * 5000) and not has_end(whole[:-2])
    assert not has_end(whole[:-2] + b"\0" * 5000) and has_end(b"\xff\xd8 no scan")


@pytest.mark.parametrize("name", ["4:2:0", "4:4:4", "progressive"])
def test_what_flipped_bytes_do_depends_on_the_decoder(name: str) -> None:
    """Bit rot inside the data passes Pillow, at any place; simplejpeg sees most of it, and takes all that is sound."""
    pytest.importorskip("simplejpeg")
    whole = sound()[name]
    generator = np.random.default_rng(0)
    start = whole.index(b"\xff\xda") + 14
    passed = dict.fromkeys(DECODERS, 0)
    for _ in range(60):
        data = bytearray(whole)
        at = int(generator.integers(start, len(whole) - 402))
        data[at : at + 400] = generator.integers(0, 255, 400, dtype=np.uint8).tobytes()
        for decoder in DECODERS:
            passed[decoder] += outcome(bytes(data), PixelSettings(size=32, decoder=decoder))[0] is None
    assert passed["pillow"] >= 54 and passed["simplejpeg"] <= 12, passed
    for other, data in sound().items():
        assert outcome(data, PixelSettings(size=32, decoder="simplejpeg"))[0] is None, other


def key_of(number: int, kind: Kind) -> str:
    """Between two good files of a place. A name that is not UTF-8 is percent-escaped in its key."""
    name = kind.file.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\ufffd", "%E9")
    return f"{number % PLACES:02}/{number // PLACES:03}.d/{name}"


def write_survey(folder: Path) -> dict[str, Kind]:
    """200 good frames at 20 places and one file of every kind between them; each kind by its key."""
    store = open_store(str(folder))
    noon = "2021-05-0{} 12:30:{:02}"
    images = [
        {
            "id": str(n),
            "file_name": f"{n % PLACES:02}/{n // PLACES:03}.jpg",
            "location": f"place {n % PLACES}",
            "datetime": noon.format(1 + n % 9, n % 60),
            "category": 1,
        }
        for n in range(GOOD)
    ]
    files = {str(one["file_name"]): encoded(picture(48, 36, seed=n)) for n, one in enumerate(images)}
    bad = {key_of(5 * n, kind): kind for n, kind in enumerate(kinds())}
    for n, (key, kind) in enumerate(bad.items()):
        if kind.file.isascii() and kind.file != BY_NAME:
            named = {"id": f"bad {n}", "file_name": key, "location": f"place {5 * n % PLACES}", "category": 1}
            images.append(named | {"datetime": kind.captured_at or noon.format(1, n)})
        path = folder / os.path.dirname(key) / os.fsdecode(os.fsencode(kind.file))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(kind.data)
    write_coco(store, images, files)
    return bad


def data_settings(folder: Path, decoder: str = "pillow") -> DataSettings:
    return coco_settings(str(folder), pixels={"size": 32, "decoder": decoder}, max_bad_share=0.1)


def check_rows(dataset: Dataset, bad: dict[str, Kind], decoder: str) -> None:
    """Every good file is in, every bad one has its row."""
    rows = {row["key"]: row for row in dataset.ledger().to_pylist()}
    assert len(rows) == GOOD + len(bad) + 1  # the metadata
    good = [row for key, row in rows.items() if key not in bad and key != "metadata.json"]
    assert len(good) == GOOD and {row["status"] for row in good} == {"ok"}
    for key, kind in bad.items():
        row, (reason, magic, turn) = rows[key], kind.outcome(decoder)
        assert (row["status"], row["reason"]) == ("rejected" if reason else "ok", reason), key
        assert (row["magic"], row["exif_turn"], row["size"]) == (magic, turn, len(kind.data)), key
        assert row["sha256"] == (None if kind.file == BY_NAME else hashlib.sha256(kind.data).digest()), key
        assert bool(row["clock_flags"]) == (kind.captured_at is not None), key
    taken = GOOD + sum(kind.outcome(decoder)[0] is None for kind in bad.values())
    assert sum(item.rows for item in dataset.items) == taken and dataset.check(read_data=True) == []


@pytest.mark.parametrize("decoder", DECODERS)
def test_no_good_file_is_lost_with_a_bad_one(
    decoder: str, tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    if decoder == "simplejpeg":
        pytest.importorskip("simplejpeg")
    monkeypatch.setattr(items, "cut", partial(items.cut, most=40))  # several items
    bad = write_survey(tmp_path / "archive")
    dataset = prepare(data_settings(tmp_path / "archive", decoder), root)
    check_rows(dataset, bad, decoder)
    misnamed = [kind.file for kind in kinds() if mismatched(kind.file, kind.outcome(decoder)[1])]
    assert misnamed == ["png.jpg", "webp.jpg"]
    assert any("coco: 2 files are not what their name says, as" in line for line in told(dataset)), told(dataset)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.services
def test_ray_loses_no_block_to_a_bad_file(
    tmp_path: Path, root: Store, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "cut", partial(items.cut, most=40))
    bad = write_survey(tmp_path / "archive")
    data = data_settings(tmp_path / "archive")
    ray = flow.prepare(data, root, IMAGE, TEXT, workers=RayWorkers(2), lease=5.0)
    assert len(ray.document["pixels"]) > 2
    check_rows(ray, bad, "pillow")
    one = flow.prepare(data, open_store(str(tmp_path / "one")), IMAGE, TEXT, workers=IN_PROCESS, lease=5.0)
    assert [part["path"] for part in one.document["pixels"]] == [part["path"] for part in ray.document["pixels"]]


def test_a_refusal_names_reasons_paths_and_folders(tmp_path: Path, root: Store) -> None:
    images = [
        {"id": str(n), "file_name": f"{n % 4}/{n:02}.jpg", "location": f"place {n % 4}", "category": 1}
        for n in range(40)
    ]
    files = {str(one["file_name"]): encoded(picture(48, 36, seed=n)) for n, one in enumerate(images)}
    files |= {name: b"" for name in files if name.startswith("2/")} | {"1/01.jpg": files["1/01.jpg"][:-30]}
    write_coco(open_store(str(tmp_path / "archive")), images, files)
    with pytest.raises(DataRefused) as caught:
        prepare(coco_settings(str(tmp_path / "archive")), root)
    line = str(caught.value)
    assert "11 of 40 files gave no image" in line and "\n" not in line
    assert "empty 10 (2/02.jpg, 2/06.jpg, 2/10.jpg, 2/14.jpg, 2/18.jpg); truncated 1 (1/01.jpg)" in line
    assert line.endswith("worst folders: 2 (10 of 10), 1 (1 of 10)")


def test_a_file_too_large_for_a_worker_is_not_read(
    tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = write_survey(tmp_path / "archive")
    with (tmp_path / "archive" / "00" / "huge.jpg").open("wb") as file:
        file.truncate(6_000_000_000)  # sparse
    read: list[str] = []
    whole = listing.Archive.read
    monkeypatch.setattr(listing.Archive, "read", lambda self, entry: read.append(entry.key) or whole(self, entry))
    rows = {row["key"]: row for row in prepare(data_settings(tmp_path / "archive"), root).ledger().to_pylist()}
    huge = rows["00/huge.jpg"]
    assert (huge["status"], huge["reason"], huge["sha256"]) == ("rejected", "too_large", None)
    assert "00/huge.jpg" not in read and set(bad) - {key for key in bad if BY_NAME in key} <= set(read)


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 8))
def test_reads_ahead_keep_their_order_and_their_bound(sizes: list[int], window: int) -> None:
    begun: list[int] = []
    most = 500
    with ThreadPoolExecutor(4) as pool:
        taken = ahead(pool, lambda n: begun.append(n) or n, range(len(sizes)), window, lambda n: sizes[n], most)
        for expected, n in enumerate(taken):
            assert n == expected
            held = sorted(begun)[expected + 1 :]  # begun and not handed over yet
            assert len(held) <= window and (sum(sizes[one] for one in held) <= most or len(held) == 1)
    assert sorted(begun) == list(range(len(sizes)))


def test_names_that_claim_another_format() -> None:
    assert mismatched("a/b.JPG", "PNG") and mismatched("x.tar!/b.png", "MPO") and mismatched("b.webp", "JPEG")
    assert not any(
        mismatched(key, magic)
        for key, magic in [("a.jpeg", "JPEG"), ("a.jpg", "MPO"), ("a.TIF", "TIFF"), ("a.jpg", None), ("a", "PNG")]
    )
    assert listing.EXTENSIONS is EXTENSIONS


def test_a_decoder_that_is_not_installed_is_refused_in_one_line(
    tmp_path: Path, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    pixel_reader.cache_clear()
    with pytest.raises(SettingsError, match=r"^data\.pixels\.decoder: simplejpeg is not installed here .*pillow$"):
        prepare(data_settings(tmp_path / "archive", "simplejpeg"), root)
    assert list(root.list()) == []
