"""SCAN's "precomp" folders: rows of an array as files, both layouts, and one line for whatever is missing or wrong."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.sources import Precomp
from pipelines.sources.archive import Archive
from pipelines.sources.schema import Survey
from tests.pipelines.archives import sorted_entries
from tests.pipelines.precomp_folder import REGIONS, WIDTH, write_precomp
from xmodal.transforms import PixelSettings, decode_pixels, prepare_image

SIZES = {"train": 6, "dev": 2, "test": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_precomp(tmp_path / "f30k", SIZES)
    return tmp_path / "f30k"


def read(folder: Path, **settings: Any) -> Survey:
    stated: dict[str, Any] = {"regions": (REGIONS, WIDTH), **settings}
    return Precomp(kind="precomp", **stated).read(open_store(str(folder)))


def test_an_image_is_a_row_with_its_five_lines(folder: Path) -> None:
    survey = read(folder)
    media = survey.media.to_pylist()
    assert [(one["media_id"], one["key"], one["split"]) for one in media[:2]] == [
        ("train/0000000", "train_ims.npy!/0000000", "train"),
        ("train/0000001", "train_ims.npy!/0000001", "train"),
    ]
    assert [one["split"] for one in media] == ["train"] * 6 + ["val"] * 2 + ["test"] * 3
    lines = (folder / "dev_caps.txt").read_text().splitlines()
    said = [one["caption"] for one in survey.observations.to_pylist() if one["media_id"].startswith("dev/")]
    assert said == lines and survey.refused.counts == {}


def test_a_row_for_each_caption_is_the_same_set(folder: Path, tmp_path: Path) -> None:
    write_precomp(tmp_path / "repeated", SIZES, repeated=True)
    one, other = read(folder), read(tmp_path / "repeated")
    assert one.media["media_id"].equals(other.media["media_id"]) and one.observations.equals(other.observations)
    assert other.media["key"].to_pylist()[1] == "train_ims.npy!/0000005"


def test_a_member_is_its_row_as_a_file_and_a_picture_stands_in_for_it(folder: Path) -> None:
    archive = Archive(open_store(str(folder)))
    entries = {entry.key: entry for entry in sorted_entries(archive)}
    assert len([key for key in entries if key.startswith("train_ims.npy!/")]) == 6 and "train_ims.npy" not in entries
    data = archive.read(entries["test_ims.npy!/0000002"])
    path = folder / "one.npy"
    path.write_bytes(data)
    assert (np.load(path) == np.load(folder / "test_ims.npy")[2]).all()
    stand_in = prepare_image(data, PixelSettings(size=32))
    assert stand_in.format == "NPY" and not stand_in.infrared and decode_pixels(stand_in.jpeg).shape == (3, 32, 32)


@pytest.mark.parametrize("shape", [(3, 4), (6, 5, 24), (6, 6, 23)])
def test_an_array_of_another_shape_is_refused(folder: Path, shape: tuple[int, ...]) -> None:
    np.save(folder / "train_ims.npy", np.zeros(shape, np.float32))
    with pytest.raises(DataRefused, match=r"train_ims\.npy: an array of shape \(.*\); \(images, 6, 24\) is expected"):
        read(folder)


def wrong_type(folder: Path) -> None:
    np.save(folder / "dev_ims.npy", np.zeros((2, REGIONS, WIDTH), np.int32))


def by_column(folder: Path) -> None:
    np.save(folder / "dev_ims.npy", np.asfortranarray(np.zeros((2, REGIONS, WIDTH), np.float32)))


def no_array(folder: Path) -> None:
    (folder / "dev_ims.npy").write_bytes(b"<html>")


def no_features(folder: Path) -> None:
    (folder / "dev_ims.npy").unlink()


def no_captions(folder: Path) -> None:
    (folder / "test_caps.txt").unlink()


def a_caption_less(folder: Path) -> None:
    lines = (folder / "test_caps.txt").read_text().splitlines()
    (folder / "test_caps.txt").write_text("\n".join(lines[:-1]))


def not_text(folder: Path) -> None:
    (folder / "test_caps.txt").write_bytes(b"\xff\xfe\n" * 15)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (wrong_type, r"dev_ims\.npy: not an array of features .*<i4"),
        (by_column, r"dev_ims\.npy: not an array of features .*column by column"),
        (no_array, r"dev_ims\.npy: not an array of features"),
        (no_features, r"dev_ims\.npy: not there; a precomp folder holds dev_ims\.npy \(images x 6 x 24, float32\)"),
        (no_captions, r"test_caps\.txt: not there; a precomp folder holds"),
        (a_caption_less, r"test_ims\.npy: 3 rows for 14 captions"),
        (not_text, r"test_caps\.txt: not UTF-8"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(folder: Path, spoil: Any, text: str) -> None:
    spoil(folder)
    with pytest.raises(DataRefused, match=text) as refusal:
        read(folder)
    assert "\n" not in str(refusal.value)


def test_numbers_of_images_and_checksums_are_held_against_what_is_stated(folder: Path) -> None:
    digest = hashlib.sha256((folder / "test_ims.npy").read_bytes()).hexdigest()
    assert len(read(folder, images={"test": 3}, sha256={"test_ims.npy": digest}).media) == 11
    with pytest.raises(DataRefused, match=r"test_ims\.npy: 3 images, 1000 are expected"):
        read(folder, images={"test": 1000})
    with pytest.raises(DataRefused, match=r"dev_caps\.txt: SHA-256 .*, 00 is expected"):
        read(folder, sha256={"dev_caps.txt": "00"})


def test_an_empty_caption_is_counted_and_moves_no_other(folder: Path) -> None:
    lines = (folder / "train_caps.txt").read_text().splitlines()
    (folder / "train_caps.txt").write_text("\n".join([*lines[:6], " ", *lines[7:]]))
    survey = read(folder)
    assert survey.refused.counts == {"empty_caption": 1}
    said = [row["caption"] for row in survey.observations.to_pylist() if row["media_id"] == "train/0000002"]
    assert said == lines[10:15]


def test_a_cut_off_array_is_listed_as_damaged(folder: Path) -> None:
    whole = (folder / "test_ims.npy").read_bytes()
    (folder / "test_ims.npy").write_bytes(whole[:-10])
    archive = Archive(open_store(str(folder)))
    assert "test_ims.npy" in {entry.key for entry in sorted_entries(archive)}
    assert archive.refused.counts == {"damaged_npy": 1}
