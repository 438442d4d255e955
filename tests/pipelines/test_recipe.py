"""Recipes that come with xmodal: each is valid, and the reading of ReCap goes over every survey's."""

from pathlib import Path

import pytest
import torch

from pipelines.recipe import Recipe, load_recipe
from pipelines.show import show
from pipelines.train.plan import check_shares
from tests.xmodal import tiny
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError, parse

SURVEYS = ("demo", "camera-traps", "flickr8k", "cifar10")
CODES = torch.arange(4, dtype=torch.int32)[:, None].expand(-1, 6).contiguous()
"""Four species, at position 5 as in prepared datasets."""


@pytest.mark.parametrize("name", SURVEYS)
@pytest.mark.parametrize("more", [(), ("recap",)])
def test_it_is_valid(name: str, more: tuple[str, ...]) -> None:
    recipe = load_recipe([name, *more])
    assert recipe.name == (more[0] if more else name)
    assert load_recipe([name, *more]).fingerprint() == recipe.fingerprint()


def test_a_folder_of_that_name_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives are kept under the names of their recipes."""
    (tmp_path / "flickr8k").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_recipe(["flickr8k"]).name == "flickr8k"
    with pytest.raises(SettingsError, match="no such recipe file"):
        load_recipe([str(tmp_path)])


def test_recap_over_the_demo_trains() -> None:
    """Every part is built, and a step moves it."""
    settings = load_recipe(["demo", "recap", "model.image.image_size=16", "model.queue.size=16"]).model
    torch.manual_seed(0)
    built = CrossModalModel(settings, tiny.wordpiece(), attributes=6)
    optimizer = torch.optim.AdamW(built.parameters(), 1e-3)
    for step in range(2):
        losses = tiny.step(built, optimizer, tiny.batch(4, step=step, image_codes=CODES, text_codes=CODES))
    assert losses.keys() == {"itc", "itm", "lm", "cons", "anchor"} and built.key_encoders.keys() == {
        "key", "refresh.snapshot", "tasks.lm.labels.key"
    }  # fmt: skip
    assert all(gate != 0 for gate in built.query.enhancer_metrics().values())


def test_workers_are_a_number_or_the_least_and_the_most() -> None:
    assert load_recipe(["demo"]).compute.world_sizes == range(2, 3)
    for text, sizes in {"1": range(1, 2), "[1, 4]": range(1, 5), "[3, 3]": range(3, 4)}.items():
        recipe = load_recipe(["demo", f"compute.workers={text}"])
        assert recipe.compute.world_sizes == sizes and load_recipe(["demo"]).fingerprint() == recipe.fingerprint()
        assert parse(Recipe, recipe.model_dump(mode="json")) == recipe, "as Ray's workers get it"
    for text in ("0", "[0, 2]", "[4, 1]", "[1, 2, 3]", "[]", "two", "true", "1.5"):
        with pytest.raises(SettingsError, match=r"^compute\.workers: give a whole number from 1 on, or .*\[1, 4\].*$"):
            load_recipe(["demo", f"compute.workers={text}"])


def test_nobody_is_given_up_who_waits_for_data_or_for_the_store() -> None:
    load_recipe(["demo", "compute.collective_timeout=300"])
    told = r"^compute: .*collective_timeout 200 must not be shorter than store_patience 300"
    with pytest.raises(SettingsError, match=told):
        load_recipe(["demo", "compute.collective_timeout=200"])


def test_a_cluster_of_this_machine_alone_does_not_grow() -> None:
    load_recipe(["demo", "compute.autoscaled=true", "compute.ray_address=auto"])
    with pytest.raises(SettingsError, match=r"^compute: .*autoscaled needs the ray_address"):
        load_recipe(["demo", "compute.autoscaled=true"])


def test_every_number_of_workers_that_is_possible_divides_the_lanes() -> None:
    check_shares(12, range(1, 5))
    check_shares(4, range(4, 5))
    for sizes, told in ((range(1, 5), "3 workers .* 4 lanes evenly, and 1 to 4 are"), (range(3, 4), "and 3 are asked")):
        with pytest.raises(SettingsError, match=rf"compute\.workers: .*{told}.* of train\.lanes 4 .*: 1, 2, 4$"):
            check_shares(4, sizes)


def test_rate_and_momentum_are_restated_where_the_recipe_says_for_which_batch_they_are(tmp_path: Path) -> None:
    """And by nothing else: not by the workers. Who writes the restated values has the same recipe."""
    plain = [
        "demo",
        f"compute.root={tmp_path}",
        "train.optimizer.learning_rate=1e-3",
        "model.momentum.coefficient=0.99",
    ]
    batch = load_recipe(plain).train.global_batch
    double = load_recipe([*plain, f"train.stated_batch={batch}", f"train.global_batch={2 * batch}"])
    assert double.train.optimizer.learning_rate == pytest.approx(2e-3)
    assert double.model.momentum.coefficient == pytest.approx(0.99**2) and double.restated() is double
    written = [f"train.optimizer.learning_rate={2e-3}", f"model.momentum.coefficient={0.99**2}"]
    assert load_recipe([*plain, *written, f"train.global_batch={2 * batch}"]).fingerprint() == double.fingerprint()
    for same in (["compute.workers=[1, 4]"], [f"train.stated_batch={batch}"], ["compute.workers=1"]):
        assert load_recipe([*plain, *same]).fingerprint() == load_recipe(plain).fingerprint()
        assert load_recipe([*plain, *same]).train == load_recipe(plain).train
    shown = show((*plain, f"train.stated_batch={batch // 2}"))
    assert f"# stated for batches of {batch // 2}, of {batch} now: learning rate 0.001 becomes 0.002, " in shown
    assert "momentum coefficient 0.99 becomes 0.9801\n" in shown and "learning_rate: 0.002" in shown
    assert "stated" not in show(tuple(plain))
