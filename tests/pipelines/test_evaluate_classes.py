"""Classification of a set of classes: from folders in tars to the figures, against plain counting."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infra.storage import open_store
from pipelines.evaluate import classes, retrieval
from pipelines.evaluate.claims import CLAIMS, Asked
from pipelines.evaluate.flow import examined
from pipelines.evaluate.subject import Subject
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.train.validate import figures
from tests.pipelines.road import document, untrained_run, xmodal
from xmodal.metrics.retrieval import dots
from xmodal.settings import parse

COLOURS = {"truck": (200, 30, 30), "fire_engine": (30, 200, 30), "ship": (30, 30, 200)}
SIZES = {"train": 20, "test": 6}
RUN = "untrained-0000-0"


def write(folder: Path) -> None:
    """`train.tar` and `test.tar` with `class/name.jpg`; a class that only tests, `kite`, has two images."""
    folder.mkdir()
    for split, size in SIZES.items():
        with tarfile.open(folder / f"{split}.tar", "w") as tar:
            for label, colour in COLOURS.items():
                for number in range(size):
                    add(tar, f"{label}/{number:03d}.jpg", colour, number + 100 * len(split))
            for number in range(2 * (split == "test")):
                add(tar, f"kite/{number}.jpg", (99, 99, 99), number)


def add(tar: tarfile.TarFile, name: str, colour: tuple[int, ...], seed: int) -> None:
    pixels = np.random.default_rng(seed).normal(colour, 20, (32, 32, 3)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    info = tarfile.TarInfo(name)
    info.size = len(stream.getvalue())
    tar.addfile(info, io.BytesIO(stream.getvalue()))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("classes")
    write(folder / "archive")
    source = {"kind": "folders", "split_level": 0, "label_level": 1, "captions": "a photo: {label}"}
    survey = {"name": "classes", "archive": str(folder / "archive"), "source": source}
    data = {"name": "classes", "surveys": [survey], "split": {"kind": "published", "val": 0.2}}
    made = parse(Recipe, document("", str(folder / "root"), data=data))
    flow.prepare(made.data, made.compute.store(), made.model.image, made.model.text, workers=InProcess())
    torch.manual_seed(0)
    untrained_run(made, RUN)
    return made


@pytest.fixture(scope="module")
def subject(recipe: Recipe) -> Subject:
    return examined(recipe.compute.store(), RUN, ())[0]


def test_a_tenth_of_the_published_training_images_validates_and_no_vehicle_is_withheld(recipe: Recipe) -> None:
    dataset = flow.Dataset.open(open_store(recipe.compute.root or ""), "classes")
    counts = dataset.records(["split"])["split"].to_pylist()
    assert counts.count("test") == 20 and counts.count("train") + counts.count("val") == 60
    assert 3 < counts.count("val") < 25


def test_accuracy_is_that_of_plain_counting(subject: Subject) -> None:
    (group,) = classes.groups(subject)
    found = {row.name.removeprefix("test/classes/"): row for row in group.figures}
    texts = sorted(f"a photo: {label.replace('_', ' ')}" for label in COLOURS)
    assert classes.class_texts_of(subject) == texts
    vectors = subject.model.text_vectors(texts)
    truth, right = [], []
    for image, captions in zip(subject.gallery.images, subject.embedded.captions, strict=True):
        if captions[0]["text"] in texts:
            truth.append(captions[0]["text"])
            right.append(texts[max(range(3), key=lambda n, image=image: float(image @ vectors[n]))] == truth[-1])
    assert len(truth) == 18 and "2 images of texts that no training image has are left out" in group.note
    assert found["micro"].value == pytest.approx(100 * np.mean(right)) and found["micro"].n == 18
    per = [np.mean([one for one, label in zip(right, truth, strict=True) if label == text]) for text in texts]
    assert found["macro"].value == pytest.approx(100 * np.mean(per))
    assert found["top5_micro"].value == found["top5_micro"].chance == pytest.approx(100)
    assert found["micro"].chance == pytest.approx(100 / 3) == found["largest_class"].value
    assert found["micro"].low is not None


def test_any_image_of_a_class_is_right_for_its_text(subject: Subject) -> None:
    """Equal texts are one, and an image's right answer is that one: plain counting over 20 images and 4 texts."""
    found = subject.gallery
    assert sorted(found.captions) == [f"a photo: {name}" for name in ("fire engine", "kite", "ship", "truck")]
    truth = [own[0]["text"] for own in subject.embedded.captions]
    scores = found.images @ found.texts.T
    (group,) = retrieval.retrieval(subject)
    rows = {row.name.removeprefix("test/"): row for row in group.figures}
    first = [found.captions[n] == text for n, text in zip(scores.argmax(1).tolist(), truth, strict=True)]
    assert rows["i2t/r1"].value == pytest.approx(100 * np.mean(first)) and rows["i2t/r1"].chance == pytest.approx(25)
    best = [truth[n] == text for n, text in zip(scores.argmax(0).tolist(), found.captions, strict=True)]
    assert rows["t2i/r1"].value == pytest.approx(100 * np.mean(best))
    own = [
        np.array(truth)[scores[:, n].argsort(descending=True).numpy()] == text for n, text in enumerate(found.captions)
    ]
    share = [np.mean((np.cumsum(hit) / np.arange(1, 21) * hit)[: hit.sum()].sum() / hit.sum()) for hit in own]
    assert rows["t2i/map_at_r"].value == pytest.approx(100 * np.mean(share))
    assert "Right is the text of the image's class, or any image of it." in group.note


def test_a_run_on_classes_is_chosen_by_all_images_of_a_class(subject: Subject) -> None:
    texts, images = (dots(*pair) for pair in ((subject.gallery.images, subject.gallery.texts),
                                               (subject.gallery.texts, subject.gallery.images)))  # fmt: skip
    assert {"map", "rsum"} <= figures(subject.gallery, texts, images).keys()


def test_neighbours_and_linear_probe_answer_for_classes(subject: Subject) -> None:
    rows: Any = CLAIMS["C8"](Asked(subject))
    knn, probe = rows
    assert knn.label == "C8: class right by 20 nearest neighbours" and knn.n == probe.n == 18
    assert knn.chance == pytest.approx(100 / 3) and "of 3 classes" in probe.note
    assert probe.value > 60, "colours are told apart by any image encoder"


def test_the_verb_puts_it_first(recipe: Recipe, tmp_path: Path) -> None:
    words = ("evaluate", RUN, "--root", recipe.compute.root or "", "--json", "--report", tmp_path / "report.html")
    ended = xmodal(*words)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)[0]["name"] == "test/classes/micro"
    assert "Class right, of all images" in (tmp_path / "report.html").read_text()
