"""Experiments: what is missing is run once, arms see the same images, tests and corrections against closed forms."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.errors import DataRefused, NonFinite
from pipelines.experiments import page
from pipelines.experiments.arms import TABLES
from pipelines.experiments.compare import difference, holm, sign_flip
from pipelines.experiments.measures import recall_sum, species
from pipelines.experiments.rows import Row, Rows
from pipelines.experiments.table import Arm, Outcome, Table, averaged
from pipelines.experiments.work import Missing, missing, work
from pipelines.recipe import load_recipe
from tests.pipelines.road import prepared, write_recipe
from tests.pipelines.surveys import nameless
from xmodal.batch import Batch
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError

NAMES = [f"image {n}" for n in range(12)]
ARMS = (Arm("baseline"), Arm("+ queue", ("model.queue.size=14",), asks="does it help"))


def outcome(*values: float, clusters: list[str] | None = None) -> Outcome:
    return Outcome(NAMES[: len(values)], list(values), clusters or NAMES[: len(values)])


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """A table of two arms, two trials and two seeds over the tiny survey."""
    folder = tmp_path_factory.mktemp("experiments")
    root = str(folder / "root")
    changes = {"split": {"kind": "place", "val": 0.3, "test": 0.3, "seed": 3}}
    recipe = prepared(root, data=changes, train={"epochs": 1})
    path = write_recipe(folder / "tiny.yaml", f"{root}/archive", root, data=changes, train={"epochs": 1})
    trials = (("train.optimizer.learning_rate=1e-3",), ("train.optimizer.learning_rate=1e-2",))
    table = Table("tiny", "Tiny", (str(path),), ARMS, trials, 2, species, "micro %")
    store = recipe.compute.store()
    return Rows(store, table, Dataset.open(store, recipe.data.name), "cpu")


def made(rows: Rows) -> Iterator[Missing]:
    """Makes what is missing in this process, one by one."""
    while (one := next(missing(0, rows), None)) is not None:
        rows.make(rows.table.arm(one.arm), one.trial, one.seed, one.split)
        yield one


def test_only_what_is_missing_is_run(rows: Rows) -> None:
    """The trials of an arm, then its chosen one on the test split: seed by seed, and nothing a second time."""
    ran = []
    for one in made(rows):
        ran.append((one.arm, one.split, one.seed))
        assert rows.absent() == 8 - len(ran)
    first = [(name, *rest) for name in ("baseline", "+ queue") for rest in (("val", 0), ("val", 0), ("test", 0))]
    assert ran == [*first, ("baseline", "test", 1), ("+ queue", "test", 1)]
    tried = [rows.found(ARMS[0], trial, 0, "val") for trial in (0, 1)]
    figures = [row.figure for row in tried if row is not None]
    assert rows.chosen(ARMS[0]) == figures.index(max(figures))
    text = page.section(rows)
    assert "| baseline |" in text and "| + queue |" in text and "does it help" in text and "Not run yet" not in text


@pytest.mark.slow
def test_processes_make_the_same_rows_and_share_the_tables(rows: Rows, tmp_path: Path, capfd) -> None:
    """Two at once, of two tables: each row once, a deadline begins none, a second call none either."""
    store = open_store(str(tmp_path))
    two = [
        replace(rows, store=store, table=replace(rows.table, name=arm.name, arms=(arm,), trials=((),), seeds=1))
        for arm in (ARMS[0], replace(ARMS[1], beside=ARMS[1].name))
    ]
    assert work(two, 2, seconds=0) == 0
    assert work(two, 2) == 4 and work(two, 2) == 0
    assert "4/4 runs" in capfd.readouterr().err
    for one in two:
        alone = replace(one, store=open_store(str(tmp_path / "alone")))
        assert len(list(made(alone))) == 2
        (ours,), (theirs,) = (each.measured(one.table.arms[0]) for each in (one, alone))
        assert ours.outcome == theirs.outcome


@pytest.mark.slow
def test_a_run_that_fails_ends_the_work_with_its_reason(rows: Rows, tmp_path: Path) -> None:
    arms = (ARMS[0], Arm("diverges", ("train.optimizer.learning_rate=1e30", "train.optimizer.clip_norm=1e30")))
    fresh = replace(rows, table=replace(rows.table, arms=arms, trials=((),)), store=open_store(str(tmp_path)))
    with pytest.raises(NonFinite, match="not finite"):
        work([fresh], 2)
    assert fresh.found(ARMS[0], 0, 0, "val") is not None


def test_the_tables_travel_to_a_machine_without_ray() -> None:
    blocked = "import sys; sys.modules.update(ray=None, mlflow=None); import pipelines.experiments.__main__"
    subprocess.run([sys.executable, "-c", blocked], check=True)


def test_other_figures_of_the_test_split_stand_beside(rows: Rows, tmp_path: Path) -> None:
    """Those that a model has: without a queue there is no C1."""
    wanted = {"space/gap": "gap", "claims/c1_leak_image": "leak", "claims/c6_paraphrase_variance": "paraphrases"}
    arms = (Arm("plain", ("model.queue.size=0",)), Arm("stored", ("model.queue.size=14",)))
    table = replace(rows.table, arms=arms, trials=rows.table.trials[:1], seeds=1, claims=wanted)
    fresh = replace(rows, table=table, store=open_store(str(tmp_path)))
    for _ in made(fresh):
        pass
    (plain,), (stored,) = (fresh.measured(arm) for arm in arms)
    assert {"space/gap"} <= set(plain.claims) < set(wanted) and "claims/c1_leak_image" in stored.claims
    tried = fresh.found(arms[0], 0, 0, "val")
    assert tried is not None and tried.claims == {}
    (line,) = [line for line in page.section(fresh).splitlines() if line.startswith("| stored | ") and "0." in line][1:]
    assert len(line.split("|")) == 2 + 1 + len(wanted)
    assert f"| {plain.claims['space/gap']:.3g} |" in page.section(fresh)


def test_strangers_are_captioned_and_nothing_else_differs(rows: Rows, tmp_path: Path) -> None:
    """The control of captioning trains the same contrast, on other captions to be written."""
    arms = (ARMS[0], Arm("strangers", strangers=True))
    fresh = replace(rows, table=replace(rows.table, arms=arms), store=open_store(str(tmp_path)))
    assert fresh.key(arms[0], 0, 0, "val") != fresh.key(arms[1], 0, 0, "val")
    seen = {arm.name: [batch.caption for batch in _seen(fresh, arm)] for arm in arms}
    own, other = seen["baseline"][0], seen["strangers"][0]
    assert torch.equal(own[:-1], other[1:]) and torch.equal(own[-1], other[0]) and not torch.equal(own, other)


def _seen(rows: Rows, arm: Arm) -> list[Batch]:
    found: list[Batch] = []
    forward = CrossModalModel.forward
    with patch.object(CrossModalModel, "forward", lambda self, batch: (found.append(batch), forward(self, batch))[1]):
        rows.make(arm, 0, 0, "val")
    return found


def test_a_run_is_the_same_again(rows: Rows) -> None:
    once, twice = (rows.make(ARMS[1], 0, 0, "val").outcome for _ in range(2))
    assert once == twice
    stored = json.loads(rows.store.read(rows.key(ARMS[1], 0, 0, "val")))
    assert stored["settings"] == ["model.queue.size=14"] and len(stored["outcome"]["values"]) == len(once.names)


def test_arms_that_have_not_run_are_said_to_be_missing(rows: Rows, tmp_path: Path) -> None:
    fresh = replace(rows, store=open_store(str(tmp_path)))
    assert "Not run yet: baseline, + queue." in page.section(fresh)


def test_seeds_are_compared_in_pairs(rows: Rows, tmp_path: Path) -> None:
    """A run cut short may leave a later seed without an earlier one: neither it nor a seed of one arm alone counts."""
    fresh = replace(rows, table=replace(rows.table, trials=((),), seeds=3), store=open_store(str(tmp_path)))
    values = {"baseline": [1.0, 2.0, 4.0], "+ queue": [3.0, 5.0]}
    for arm in ARMS:
        for seed, value in enumerate(values[arm.name]):
            for split in ("val", "test"):
                row = Row(outcome(*[value] * 12), 1, "here", "abcdef", {})
                fresh.store.put(fresh.key(arm, 0, seed, split), json.dumps(asdict(row)).encode())
    (line,) = (line for line in page.section(fresh).splitlines() if line.startswith("| + queue |"))
    assert "| 4.0 | baseline | +2.5 (+2.5 to +2.5) |" in line and "| +2.0 +3.0 |" in line
    assert fresh.absent() == 1
    fresh.store.delete([fresh.key(ARMS[0], 0, 1, "test")])
    (line,) = (line for line in page.section(fresh).splitlines() if line.startswith("| + queue |"))
    assert "| +2.0 |" in line and [row.figure for row in fresh.measured(ARMS[0])] == [1.0] and fresh.absent() == 2


def test_a_table_run_later_replaces_its_own_section_alone() -> None:
    """Sections keep the order of the tables; what no table is called any more goes, and those not run stand last."""
    one, other = (f"## {TABLES[name].title}\n\nfigures of {name}\n" for name in ("flickr8k", "camera-traps"))
    text = page.whole([one], page.whole([other], "# Old heading\n\n## A table that was\n\nold\n"))
    shown, _, rest = text.partition(page.NOT_RUN)
    assert text == page.whole([one, other], "") and shown == f"{page.HEADING}\n{one}\n{other}\n"
    names = [line.rpartition(" ")[2] for line in rest.split("\n")[2:-1]]
    assert names == [f"`{name}`" for name in TABLES if name not in ("flickr8k", "camera-traps")]
    again = page.whole([one.replace("figures", "new figures")], text)
    assert again == text.replace("figures of flickr8k", "new figures of flickr8k")


def test_a_survey_without_a_known_species_in_the_split_is_refused(rows: Rows) -> None:
    """No measure of nothing: a table over such a split stops."""
    unlabelled = replace(rows, table=replace(rows.table, measure=lambda subject: species(nameless(subject))))
    with pytest.raises(DataRefused, match="no val frame of a species"):
        unlabelled.make(ARMS[0], 0, 0, "val")


def test_every_shipped_table_is_a_valid_recipe_in_every_arm_and_trial() -> None:
    for table in TABLES.values():
        names = [arm.name for arm in table.arms]
        assert len(set(names)) == len(names) and all(arm.beside in names for arm in table.arms)
        tried = [(arm, trial) for arm in table.arms for trial in range(len(table.trials))]
        prints = {(table.run(arm, trial, 0).fingerprint(), arm.strangers) for arm, trial in tried}
        assert len(prints) == len(table.arms) * len(table.trials)


def test_a_mistake_in_an_arm_is_one_line() -> None:
    table = replace(TABLES["flickr8k"], arms=(Arm("typo", ("model.queu.size=3",)),))
    with pytest.raises(SettingsError, match="queue"):
        table.run(table.arms[0], 0, 0)


def test_holm_against_the_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_sign_flips_know_that_a_cluster_is_one_observation() -> None:
    """Twelve gaps of one sign: 2 of 4,096 sign patterns reach the sum; in two clusters 2 of 4 do."""
    up, flat = outcome(*[1.0] * 12), outcome(*[0.0] * 12)
    assert sign_flip(up, flat) == pytest.approx(2 / 4096, abs=5e-4)
    clusters = ["left"] * 6 + ["right"] * 6
    assert sign_flip(replace(up, clusters=clusters), replace(flat, clusters=clusters)) == pytest.approx(0.5, abs=0.02)
    assert sign_flip(flat, flat) == 1.0


def test_differences_are_of_the_same_images() -> None:
    found = difference(outcome(3.0, 5.0), outcome(1.0, 4.0))
    assert found.value == 1.5
    with pytest.raises(ValueError, match="different images"):
        difference(outcome(1.0), outcome(1.0, 2.0))
    assert averaged([outcome(1.0, 2.0), outcome(3.0, 2.0)]).values == [2.0, 2.0]


def test_recall_sum_is_rsum_image_by_image(rows: Rows) -> None:
    """The mean over images equals rsum where every image has one text."""
    recipe = load_recipe(rows.table.recipe)
    assert recipe.train.epochs == 1
    seen: list[float] = []

    def both(subject) -> Outcome:
        from pipelines.evaluate.retrieval import ranked
        from xmodal.metrics.retrieval import rsum

        own = subject.gallery
        first = {int(image): text for text, image in reversed(list(enumerate(own.owner.tolist())))}
        texts = list(first.values())
        images = list(first)
        small = replace(
            own,
            images=own.images[images],
            image_codes=own.image_codes[images],
            texts=own.texts[texts],
            text_codes=own.text_codes[texts],
            captions=[own.captions[n] for n in texts],
            owner=own.owner[texts].clone().apply_(images.index),
            first=torch.arange(len(images)),
            captioned=True,
            claiming=False,
        )
        records = [subject.records[n] for n in images]
        cut = replace(subject, gallery=small, embedded=replace(subject.embedded, records=records))
        found = recall_sum(cut)
        seen.extend([float(np.mean(found.values)), rsum(*ranked(small))])
        return found

    replace(rows, table=replace(rows.table, measure=both)).make(ARMS[0], 0, 0, "val")
    assert seen[0] == pytest.approx(seen[1])
