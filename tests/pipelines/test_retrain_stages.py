"""What a retraining looks at before it trains: what has changed, how the champion does on it, what it will train on."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from infra.lock import held
from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.evaluate.against import against
from pipelines.evaluate.flow import examined, rated
from pipelines.recipe import Recipe
from pipelines.retrain.champion import Champion, trained_on
from pipelines.retrain.changes import changes
from pipelines.retrain.flow import challenging, sought
from pipelines.retrain.look import look, looked, worth
from pipelines.retrain.rounds import Round
from pipelines.retrain.settings import RetrainSettings
from pipelines.train.lanes import training_rows
from pipelines.train.plan import TrainingPlan, build_model, warm_start
from pipelines.train.replay import Replay
from tests.pipelines.arriving import NAMES, arrive, images, label
from tests.pipelines.retraining import parsed, recipe_over, tracking, version_of
from tests.pipelines.road import run_of, stepped, xmodal

OLD = "old-0000-0"
NEW = "Sus scrofa"


@dataclass(frozen=True)
class Grown:
    """Two surveys that came one after the other, the first version's champion, and labels that were put right."""

    recipe: Recipe
    versions: tuple[Dataset, Dataset, Dataset]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    url = str(tmp_path_factory.mktemp("grown"))
    arrive(open_store(f"{url}/one"), "one", 6, NAMES[:2])
    arrive(open_store(f"{url}/two"), "two", 6, NAMES, wrong=4)
    first, recipe = parsed(url, "one"), parsed(url, "one", "two")
    one = version_of(first)
    model, *_ = stepped(first, plan := TrainingPlan.of(first, one), plan.total_steps)
    run_of(first, model, OLD)
    two = version_of(recipe)
    label(open_store(f"{url}/two"), images("two", 6, NAMES))
    return Grown(recipe, (one, two, version_of(recipe)))


def test_what_has_changed(grown: Grown) -> None:
    one, two, three = grown.versions
    came = changes(two, one).counted
    assert came["new_media"] == 120 == came["labelled"] and came["corrected"] == came["gone_media"] == 0
    assert came["surveys"] == ["two"] and came["places"] == 6 and came["species"] == [NEW]
    corrected = changes(three, two)
    assert corrected.counted | {"labelled_train": 0} == came | {
        "new_media": 0, "labelled": 4, "labelled_train": 0, "corrected": 4, "surveys": [], "places": 0, "species": []
    }  # fmt: skip
    back, nothing = changes(one, two).counted, changes(three, three).counted
    assert back["gone_media"] == 120 and back["labelled"] == nothing["labelled"] == nothing["gone_media"] == 0
    assert changes(one, None).counted["labelled"] == 120


def test_labels_were_put_right_without_reading_an_image(grown: Grown) -> None:
    _, two, three = (one.document for one in grown.versions)
    assert two["pixels"] == three["pixels"] and two["records"] != three["records"]


def test_the_champion_is_tried_on_what_is_new_before_anything_is_trained(grown: Grown) -> None:
    one, _, three = grown.versions
    store = grown.recipe.compute.store()
    found = look(store, OLD, three, changes(three, one), 2000)
    assert found.new.n == 120 and found.old.n == one.counts["test"]
    assert found.new.right is not None and found.old.right is not None
    assert found.new.right < 0.75 < found.old.right, "a third of what is new is of a species that it never saw"
    assert found.fall == pytest.approx(found.old.right - found.new.right)
    train, why = worth(found.counted, found.sure_fall, RetrainSettings(least_labelled=1000, most_fall=0.05))
    assert train and "falls by at least" in why
    few = look(store, OLD, three, changes(three, one), 7)
    assert few.new.n == few.old.n == 7
    told = looked(asdict(found) | {"train": train, "why": why}, "traps/1")
    assert f"species {NEW}" in told and "traps/1 names " in told and told.endswith(why)


@pytest.mark.parametrize(
    ("labelled", "sure_fall", "train"),
    [(100, None, True), (99, None, False), (99, 0.11, True), (99, 0.09, False), (0, 0.5, False), (0, None, False)],
)
def test_when_it_is_worth_a_training(labelled: int, sure_fall: float | None, train: bool) -> None:
    """Unlabelled media are never labels, however badly the champion may do."""
    counted = {"labelled_train": labelled, "new_media": 5000}
    assert worth(counted, sure_fall, RetrainSettings())[0] is train


def test_a_stored_no_is_asked_again_by_the_settings_of_today(grown: Grown) -> None:
    """Of what was found then, without the champion: a run that is gone cannot be tried again."""
    one, _, three = grown.versions
    store, here, gone = grown.recipe.compute.store(), Champion(1, OLD), Champion(1, "gone-0000-0")
    strict = RetrainSettings(least_labelled=1000, most_fall=0.9)
    settings = {"labels": {"least_labelled": 10}, "fall": {"most_fall": 0.05}}
    for name, lower in settings.items():
        done = Round.of(store, f"asked-{name}", three.version, 1, "0")
        no = sought(done, here, three, one, strict)
        assert not no["train"] and no == done.read("look") == sought(done, gone, three, one, strict)
        with pytest.raises(NotFound):
            sought(done, gone, three, one, RetrainSettings(look_at=7))
        yes = sought(done, gone, three, one, strict.model_copy(update=lower))
        assert yes["train"] and yes == done.read("look") == no | {"train": True, "why": yes["why"]}
        assert sought(done, gone, three, one, strict) == yes, "what has begun is found again"


def test_a_warm_start_begins_with_the_champion_and_replays_a_share(grown: Grown) -> None:
    one, _, three = grown.versions
    store = grown.recipe.compute.store()
    champion = Champion(1, OLD)
    before = trained_on(store, champion, three)
    assert before is not None and before.version == one.version
    settings = RetrainSettings(replay=0.25, epochs=3, learning_rate=1e-4)
    warm = challenging(grown.recipe.model_copy(update={"retrain": settings}), three, champion, before)
    assert warm.train.init_from == OLD and warm.train.epochs == 3 and warm.data.version == three.version
    assert warm.train.optimizer.learning_rate == 1e-4 and warm.train.replay == Replay(version=1, share=0.25)
    assert challenging(grown.recipe, three, champion, before).train.replay is None, "all of it"
    cold = RetrainSettings(warm=False)
    assert challenging(grown.recipe.model_copy(update={"retrain": cold}), three, champion, before).train == (
        grown.recipe.train
    )
    model, fresh = build_model(warm, three), build_model(warm, three)
    warm_start(model, warm, store)
    assert not torch.equal(next(model.query.parameters()), next(fresh.query.parameters()))


def test_what_is_replayed_is_a_draw_by_sample(grown: Grown) -> None:
    """All that is new or was corrected, and of the rest a share, of which a smaller one is a part."""
    one, two, three = grown.versions
    new = three.counts["train"] - one.counts["train"]

    def left(version: int, share: float) -> set[str]:
        out = Replay(version=version, share=share).left_out(three)
        rows = training_rows(three, out)
        assert len(rows) == three.counts["train"] - (0 if out is None else len(out))
        return set() if out is None else set(out.to_pylist())

    assert left(1, 1.0) == set() and three.counts["train"] - len(left(1, 0.0)) == new
    assert left(1, 0.0) > left(1, 0.3) > left(1, 0.8) > set()
    corrected = three.counts["train"] - len(left(2, 0.0))
    changed = changes(three, two).counted["labelled_train"]
    assert corrected == changed


def test_a_champion_of_fewer_words_and_species_stands_beside_on_the_new_version(grown: Grown) -> None:
    recipe, (one, _, three) = grown.recipe, grown.versions
    model, *_ = stepped(recipe, plan := TrainingPlan.of(recipe, three), plan.total_steps)
    run_of(recipe, model, "new-0000-0")
    subject, _ = examined(recipe.compute.store(), "new-0000-0", ())
    champion = rated(recipe.compute.store(), OLD, subject)
    assert one.wordpiece().tokens == three.wordpiece().tokens[: len(one.wordpiece())]
    beside = against(subject, champion, OLD, recipe.evaluation.gate)
    assert beside.answers is not None and beside.decision is not None
    ours, theirs = beside.answers
    new = [n for n, name in enumerate(theirs.species) if name == NEW]
    assert new and not theirs.right[new].any() and ours.right[new].mean() > 0.9


def written_recipe(folder: Path, **changes: Any) -> Path:
    with (folder / "recipe.yaml").open("w") as file:
        YAML().dump(recipe_over(str(folder), "one", **changes), file)
    return folder / "recipe.yaml"


def test_of_two_at_once_one_leaves_in_a_line(tmp_path: Path) -> None:
    recipe = written_recipe(tmp_path, tracking=tracking("http://127.0.0.1:9", "traps"))
    with held(open_store(f"{tmp_path}/root"), "locks/retrain-traps.json", ttl=1.0):
        ended = xmodal("retrain", recipe, "--report", tmp_path / "report.html")
    assert ended.code == 11 and "holds the lock" in ended.line and not (tmp_path / "report.html").exists()
    assert [entry.key for entry in open_store(f"{tmp_path}/root").list()] == ["locks/retrain-traps.json"]


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        ({"uri": "http://127.0.0.1:9"}, 2, "tracking.register_as: retrain needs the name"),
        ({"register_as": "traps"}, 2, "tracking.uri: retrain needs an MLflow server"),
        ({"uri": "http://127.0.0.1:9", "register_as": "traps"}, 5, "MLflow at http://127.0.0.1:9: no answer"),
    ],
)
def test_a_mistake_is_a_line(
    given: dict[str, str], code: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ended = xmodal("retrain", written_recipe(tmp_path, tracking=given), "--report", tmp_path / "report.html")
    assert ended.code == code and ended.line.startswith(f"xmodal: {told}")
