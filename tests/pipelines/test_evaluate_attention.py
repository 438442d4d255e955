"""Attention to boxes in evaluate: every figure against a loop over images, texts and words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.evaluate.attention import attention
from pipelines.evaluate.flow import examined
from pipelines.evaluate.looks import animals, asked_of, named
from pipelines.evaluate.subject import Subject, event_of
from pipelines.prepare.language import language
from tests.pipelines.road import prepared, untrained_run, xmodal
from xmodal.metrics.attention import SWEEP, average_precision
from xmodal.metrics.figure import Figure
from xmodal.words import ANIMAL, WordTable, runs, word_id

TASKS = {"itc": {}, "lm": None}
SCAN: dict[str, Any] = {"matcher": {"kind": "scan", "width": 12}, "tasks": TASKS | {"itm": None, "triplet": {}}}
FUSION: dict[str, Any] = {"matcher": {"kind": "fusion"}, "tasks": TASKS | {"itm": {}}}
BACK: dict[str, Any] = SCAN | {"matcher": {"kind": "scan", "direction": "i2t", "width": 12}}
PIXELS, GRID = 64, 4
RUN = "untrained-0000-0"


OWN = {"kind": "vit", "image_size": PIXELS, "width": 32, "depth": 1, "heads": 2}
CONFIG = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
CLASSED = {"kind": "hugging_face", "frozen": False} | {
    "config": CONFIG | {"intermediate_size": 16, "image_size": PIXELS, "patch_size": PIXELS // GRID}
}
"""Of a token for the whole image, and the patches."""


def subject_of(folder: Path, model: dict[str, Any]) -> Subject:
    image = {"image": model.get("image", OWN)}
    data = {"pixels": {"size": PIXELS}, "split": {"kind": "place", "val": 0.2, "test": 0.5}}
    recipe = prepared(str(folder), model=model | image, data=data)
    torch.manual_seed(3)
    untrained_run(recipe, RUN)
    return examined(recipe.compute.store(), RUN, ())[0]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    models = {"scan": SCAN, "fusion": FUSION, "back": BACK, "none": {"tasks": {"itc": {}}}}
    models["classed"] = FUSION | {"image": CLASSED}
    return {name: subject_of(tmp_path_factory.mktemp(name), model) for name, model in models.items()}


SCORED = ("f1", "precision", "recall", "mass", "ap")


def slow(subject: Subject, t: float = 1) -> dict[str, list[tuple[str, float]]]:
    """Measure -> (event, value of each image), by loops."""
    network, found = subject.model.network, {}
    host, boxes = network.host, subject.dataset.records(["n_boxes", "boxes", "box_conf", "box_class"], split="test")
    rows = {(row["item"], row["row"]): row for row in boxes.to_pylist()}
    places = zip(subject.rows.item.tolist(), subject.rows.row.tolist(), strict=True)
    for image, where in enumerate(places):
        covered = patches(rows[where])
        words = [look for text in subject.embedded.captions[image] for look in seen(subject, host, image, text["text"])]
        if not covered.any() or not words:
            continue
        record = subject.records[image]
        event = event_of(record) or record["sample_id"]
        for name, values in measures(np.array(words), covered, t).items():
            found.setdefault(name, []).append((event, float(np.mean(values))))
    return found


def patches(record: dict[str, Any]) -> np.ndarray:
    """(16,) which patches the animals of a row cover by half, and the most covered one of each."""
    covered = np.zeros(GRID * GRID, bool)
    kinds, sure = np.frombuffer(record["box_class"] or b"", "<i4"), np.frombuffer(record["box_conf"] or b"", "<f4")
    for (x, y, w, h), kind, confidence in zip(
        np.frombuffer(record["boxes"] or b"", "<f4").reshape(-1, 4).astype(float), kinds, sure, strict=True
    ):
        if kind == 0 and confidence >= 0.2:
            wide = [max(0, min(x + w, (n + 1) / GRID) - max(x, n / GRID)) * GRID for n in range(GRID)]
            high = [max(0, min(y + h, (n + 1) / GRID) - max(y, n / GRID)) * GRID for n in range(GRID)]
            share = np.array([[a * b for a in wide] for b in high]).ravel()
            covered |= share >= 0.5
            covered[share.argmax()] = True
    return covered


def seen(subject: Subject, host: Any, image: int, text: str) -> list[np.ndarray]:
    """The attention of each word of a text that names the animal recorded; tokens of a name are averaged."""
    network = subject.model.network
    ids, mask = network.text_features([text])
    tokens, looked = network.query.text(ids, mask), network.query.image(subject.encoded(image))
    weights = host.attention(looked, tokens, mask)[0].detach().double().numpy()
    facts = subject.facts[image].get("taxon") or {}
    english = facts.get("names", {}).get("eng", "")
    written = [*facts.get("names", {}).values(), facts.get("value") or "", language("eng").grammar.forms(english)[-1]]
    written += facts.get("lineage", {}).values()
    names = {word: word for one in written for word in one.lower().split()}
    table = WordTable(network.settings.text.pieces(subject.model.wordpiece))
    found, run = [], []
    for place, word in enumerate([*table.words(ids[0].tolist(), names), -1]):
        if word >= ANIMAL:
            run.append(weights[place])
        elif run:
            found.append(np.mean(run, axis=0))
            run = []
    return found


def measures(weights: np.ndarray, covered: np.ndarray, t: float) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in (*SCORED, "chance", "empty")}
    for row in weights:
        looked = {n for n, w in enumerate(row) if w >= t / len(row) - 1e-12}
        right = set(np.flatnonzero(covered).tolist())
        precision, recall = len(looked & right) / max(len(looked), 1), len(looked & right) / len(right)
        found["precision"].append(precision)
        found["recall"].append(recall)
        found["f1"].append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        found["mass"].append(sum(row[n] for n in right) / row.sum())
        found["ap"].append(average_precision(row, covered))
        found["chance"].append(len(right) / len(row))
        found["empty"].append(float(not looked))
    return found


def by_event(pairs: list[tuple[str, float]]) -> float:
    """The mean over events of their images' means, in percent."""
    events = {event for event, _ in pairs}
    return 100 * float(np.mean([np.mean([value for own, value in pairs if own == event]) for event in events]))


def figures(subject: Subject) -> dict[str, Figure]:
    return {row.name.removeprefix("test/attention/"): row for row in attention(subject)[0][0].figures}


@pytest.mark.parametrize("name", ["scan", "fusion"])
def test_figures_are_their_loops(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    told, wanted = figures(subject), slow(subject)
    assert len(wanted["f1"]) > 5
    for measure in SCORED:
        assert told[measure].value == pytest.approx(by_event(wanted[measure]), abs=1e-3)
        assert told[measure].n == len(wanted[measure])
    for measure in ("precision", "mass", "ap"):
        assert told[measure].chance == pytest.approx(by_event(wanted["chance"]))
    assert told["recall"].chance == 100
    assert {"centre/f1", "centre/mass", "norm/ap", "entropy", "f1_tuned"} <= told.keys()


@pytest.mark.parametrize("name", ["scan", pytest.param("fusion", marks=pytest.mark.slow)])
def test_the_curve_over_cuts_and_f1_of_the_means_are_their_loops(subjects: dict[str, Subject], name: str) -> None:
    subject = subjects[name]
    told = figures(subject)
    assert [row.removeprefix("f1_at/") for row in told if row.startswith("f1_at/")] == [f"{t:g}" for t in SWEEP]
    for t in SWEEP:
        wanted, row = slow(subject, t), told[f"f1_at/{t:g}"]
        assert row.value == pytest.approx(by_event(wanted["f1"]), abs=1e-3)
        for measure in ("precision", "recall"):
            assert f"{measure} {by_event(wanted[measure]):.1f} %" in row.note
        empty = by_event(wanted["empty"])
        assert (f"{empty:.1f} % of the words look at nothing" in row.note) == (empty > 0)
    assert by_event(slow(subject, SWEEP[-1])["empty"]) > 0
    p, r = (np.mean([value for _, value in slow(subject)[one]]) for one in ("precision", "recall"))
    assert told["f1_of_means"].value == pytest.approx(100 * 2 * p * r / (p + r), abs=1e-3)
    best = max(told[f"f1_at/{t:g}"].value for t in SWEEP)
    assert told["f1_tuned"].value <= best + 1e-9


def test_attention_to_the_token_of_the_whole_image_is_told_and_left_out(subjects: dict[str, Subject]) -> None:
    subject = subjects["classed"]
    boxes = subject.dataset.records(["n_boxes", "boxes", "box_conf", "box_class"], split="test")
    rows = {(row["item"], row["row"]): row for row in boxes.to_pylist()}
    lost, held = [], []
    for image, where in enumerate(zip(subject.rows.item.tolist(), subject.rows.row.tolist(), strict=True)):
        covered, texts = patches(rows[where]), subject.embedded.captions[image]
        words = np.array(
            [look for text in texts for look in seen(subject, subject.model.network.host, image, text["text"])]
        )
        if covered.any() and len(words):
            event = event_of(subject.records[image]) or subject.records[image]["sample_id"]
            assert words.shape[1] == GRID * GRID + 1
            lost.append((event, float(np.mean(words[:, 0]))))
            held.append((event, float(np.mean(words[:, 1:][:, covered].sum(1) / words[:, 1:].sum(1)))))
    told = figures(subject)
    assert len(lost) > 5 and by_event(lost) > 1
    assert told["cls_mass"].value == pytest.approx(by_event(lost), abs=1e-3) and told["cls_mass"].n == len(lost)
    assert told["mass"].value == pytest.approx(by_event(held), abs=1e-3)
    assert "cls_mass" not in figures(subjects["fusion"]), "its encoder has no such token"


def test_what_cannot_be_asked_is_counted(subjects: dict[str, Subject]) -> None:
    subject = subjects["scan"]
    group, _ = attention(subject)
    rows = subject.dataset.records(["n_boxes", "boxes", "box_conf", "box_class"], split="test").to_pylist()
    boxes = [animals(row, 0.2) for row in rows]
    unseen, empty = sum(one is None for one in boxes), sum(one is not None and not len(one) for one in boxes)
    assert f"Of {len(subject.records)} images {unseen} were seen by no detector" in group[0].note
    assert f"in {empty} it found no animal" in group[0].note and empty > 0


def test_reasons(subjects: dict[str, Subject]) -> None:
    assert attention(subjects["none"])[0] == []
    (group,), section = attention(subjects["back"])
    assert not section and group.missing == [
        "attention to boxes: in this host regions attend to words, and no word to a region"
    ]
    subject = subjects["scan"]
    rows = subject.rows
    empty = [n for n, one in enumerate(asked_of(rows, "test")) if one.boxes is not None and not len(one.boxes)]
    (group,), _ = attention(replace(subject, rows=replace(rows, item=rows.item[empty], row=rows.row[empty])))
    assert not group.figures and "there is no image to ask it of" in group.missing[0]


def test_pictures_show_the_mean_over_words(subjects: dict[str, Subject]) -> None:
    section = attention(subjects["scan"])[1]
    assert 0 < len(section.heats) <= 12
    for heat in section.heats:
        assert heat.weights.shape == (GRID, GRID) and heat.weights.sum() == pytest.approx(1, abs=1e-4)
        assert 0 < heat.chance <= 1 and 0 <= heat.mass <= 1 and len(heat.boxes)


def test_the_page_and_the_table_hold_them(subjects: dict[str, Subject], tmp_path: Path) -> None:
    root = subjects["scan"].dataset.store.url
    page = tmp_path / "report.html"
    ended = xmodal("evaluate", RUN, "--root", root, "--report", page)
    assert ended.code == 0 and "test/attention/f1" in ended.out
    assert "Where words look" in page.read_text() and "of the attention is in the boxes" in page.read_text()


def test_boxes_of_people_and_unsure_ones_are_no_animals() -> None:
    row = {
        "n_boxes": 3,
        "boxes": np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]], "<f4").tobytes(),
        "box_conf": np.array([0.9, 0.1, 0.2], "<f4").tobytes(),
        "box_class": np.array([1, 0, 0], "<i4").tobytes(),
    }
    found = animals(row, 0.2)
    assert found is not None and found.tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert animals(row | {"n_boxes": None}, 0.2) is None


def test_a_name_of_two_words_is_one_run() -> None:
    roe, deer, other = (word_id(word) for word in ("roe", "deer", "runs"))
    ids = np.array([-1, ANIMAL + roe, ANIMAL + deer, other, ANIMAL + deer, -1])
    assert named(ids) == [[1, 2], [4]] and named(np.array([other, -1, deer])) == []
    assert runs([3, 3, -1, 3], 3) == [[0, 1], [3]]
