"""Captioned sets: Flickr8k's files, Karpathy's JSON, loose and tar members, broken lines."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.storage import NotFound, open_store
from pipelines.errors import DataRefused
from pipelines.prepare.facts import Medium
from pipelines.sources import Captioned
from pipelines.sources.schema import Survey

LISTS = {"train": "train.txt", "val": "dev.txt", "test": "test.txt"}


def write(folder: Path, captions: str, **lists: str) -> None:
    (folder / "token.txt").write_text(captions)
    for name in LISTS.values():
        (folder / name).write_text(lists.get(name.partition(".")[0], ""))
    with tarfile.open(folder / "images-00.tar", "w") as tar:
        for name in ("a.jpg", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"1234"))
    (folder / "loose").mkdir()
    (folder / "loose" / "c.jpg").write_bytes(b"1234")


def read(folder: Path, **settings: Any) -> Survey:
    fields = {"captions": "token.txt", "splits": LISTS, **settings}
    return Captioned(kind="captioned", **fields).read(open_store(str(folder)))


def test_images_are_found_by_name_wherever_they_lie(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg#0\tOne .\na.jpg#1\tTwo\tthings\nb.jpg#0\tThree\nc.jpg#0\tFour\n",
          train="a.jpg\n", dev="b.jpg\n\n", test=" c.jpg ")  # fmt: skip
    survey = read(tmp_path)
    media = {row["media_id"]: (row["key"], row["split"]) for row in survey.media.to_pylist()}
    assert media == {
        "a.jpg": ("images-00.tar!/a.jpg", "train"),
        "b.jpg": ("images-00.tar!/b.jpg", "val"),
        "c.jpg": ("loose/c.jpg", "test"),
    }
    captions = [(row["media_id"], row["caption"]) for row in survey.observations.to_pylist()]
    assert captions == [("a.jpg", "One ."), ("a.jpg", "Two\tthings"), ("b.jpg", "Three"), ("c.jpg", "Four")]
    assert survey.refused.counts == {}


def test_captions_are_in_the_language_of_the_set(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg#0\tein Hund\n", train="a.jpg\n")
    for settings, code in (({}, "eng"), ({"language": "deu"}, "deu")):
        (row,) = read(tmp_path, **settings).observations.to_pylist()
        assert Medium(None, [row], None).captions == [("ein Hund", code)]


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    lines = [
        "a.jpg#0\tOne",
        "a.jpg#0\tAgain",
        "a.jpg#1\t ",
        "a.jpg#x\tBad",
        "no tab",
        "z.jpg#0\tGone",
        "c.jpg#0\tAlone",
    ]
    write(tmp_path, "\n".join(lines), train="a.jpg\ny.jpg\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.jpg").write_bytes(b"other")
    survey = read(tmp_path)
    assert survey.media["split"].to_pylist() == ["train", None]
    assert survey.refused.counts == {
        "duplicate_caption": 1, "empty_caption": 1, "bad_line": 2, "no_such_file": 2, "caption_of_missing_file": 1,
        "in_no_split": 1, "duplicate_file": 1,
    }  # fmt: skip


def test_a_folder_narrows_the_search(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg#0\tOne\nc.jpg#0\tFour\n", train="a.jpg\nc.jpg")
    assert read(tmp_path, images_prefix="loose").media["key"].to_pylist() == ["loose/c.jpg"]


def test_karpathys_document(tmp_path: Path) -> None:
    write(tmp_path, "")
    images = [
        {"filename": "a.jpg", "split": "restval", "sentences": [{"raw": "One"}, {"raw": ""}, {"tokens": []}, 3]},
        {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "Two"}]},
        {"filename": "c.jpg", "split": "other"},
        {"filename": "a.jpg", "split": "val"},
        {"split": "val"},
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"images": images}))
    survey = read(tmp_path, captions="dataset.json", splits={})
    assert survey.media["split"].to_pylist() == ["train", "test", None]
    assert survey.observations["caption"].to_pylist() == ["One", "Two"]
    assert survey.refused.counts == {
        "empty_caption": 2, "bad_row": 1, "duplicate_file": 1, "no_path": 1, "in_no_split": 1,
    }  # fmt: skip


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg#0\tOne\n", train="a.jpg", test="a.jpg")
    with pytest.raises(DataRefused, match=r"a\.jpg stands in train and in test"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("token.txt", b"nothing here\n", "no line of it reads"),
        ("token.txt", b"a.jpg#0\t\xff\xfe\n", "not UTF-8"),
        ("token.txt", b"z.jpg#0\tOne\n", "none of its 1 images can be used .no_such_file 1"),
        ("train.txt", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    write(tmp_path, "a.jpg#0\tOne\n", train="a.jpg")
    if words.startswith("none"):
        (tmp_path / "train.txt").write_text("")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataRefused, match=words) as refusal:
        read(tmp_path)
    assert name in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg#0\tOne\n", train="a.jpg")
    (tmp_path / "dev.txt").unlink()
    with pytest.raises(NotFound, match=r"dev\.txt"):
        read(tmp_path)


@pytest.mark.data
def test_flickr8k(data_dir: Path) -> None:
    survey = read(data_dir / "flickr8k", captions="Flickr8k.token.txt")
    assert Counter(survey.media["split"].to_pylist()) == {"train": 6000, "val": 1000, "test": 1000, None: 91}
    assert survey.observations.num_rows == 40_455
    assert survey.refused.counts == {"in_no_split": 91}
    assert all("!/" in key for key in survey.media["key"].to_pylist())
