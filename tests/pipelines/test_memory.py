"""What `xmodal show` says of memory, held against a model that trains."""

from pathlib import Path

import pytest
import torch

from pipelines.dataset import Dataset
from pipelines.memory import ROWS, activations, kept, longest_rows, table, worker_memory
from pipelines.recipe import Recipe
from pipelines.show import show
from pipelines.train.descent import Descent
from pipelines.train.plan import build_model, sample_reader
from tests.pipelines.road import prepared
from xmodal.settings import dump_yaml, merge, parse


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return prepared(str(tmp_path_factory.mktemp("memory")))


@pytest.fixture(scope="module")
def dataset(recipe: Recipe) -> Dataset:
    return Dataset.open(recipe.compute.store(), recipe.data.name)


def changed(recipe: Recipe, **more: object) -> Recipe:
    return parse(Recipe, merge(recipe.model_dump(mode="json"), more))


def test_what_stays_is_what_a_trained_model_holds(recipe: Recipe, dataset: Dataset) -> None:
    parts, model = worker_memory(recipe, dataset), build_model(recipe, dataset)
    descent = Descent(model, recipe.train, 1000)
    descent.gradients(model.train(), longest_rows(sample_reader(recipe, dataset), 8))
    descent.step(0)
    assert parts["gradients"] == sum(one.grad.nbytes for one in model.parameters() if one.grad is not None)
    moments = [one for state in descent.optimizer.state.values() for one in state.values() if one.ndim]
    assert parts["optimizer"] == pytest.approx(sum(one.nbytes for one in moments), rel=1e-3)
    assert parts["queue"] == sum(one.nbytes for one in model.queue.state().values())
    whole = sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
    assert parts["weights"] + parts["key encoders"] == whole
    assert parts["gradients being added up"] == parts["gradients"]
    alone = worker_memory(changed(recipe, compute={"workers": 1}), dataset)
    assert alone["gradients being added up"] == 0 and alone["activations"] > 1.8 * parts["activations"]


def test_activations_of_few_rows_tell_those_of_many(recipe: Recipe, dataset: Dataset) -> None:
    model, reader = build_model(recipe, dataset), sample_reader(recipe, dataset)
    for rows in (*ROWS, 32):
        counted = kept(model, recipe.train, longest_rows(reader, rows))
        assert activations(model, recipe.train, reader, rows, rows) == pytest.approx(counted, rel=0.01)
    assert not model.fresh_keys and len(model.queue) == 0


def test_precision_parts_and_gradient_checkpointing_lower_them(recipe: Recipe, dataset: Dataset) -> None:
    deep = {"model": {"image": {"depth": 6}}}
    plain = worker_memory(changed(recipe, **deep), dataset)["activations"]
    for less, most in (
        ({"train": {"precision": "bf16"}}, 0.75),
        ({"train": {"global_batch": 12, "accumulate": 3}}, 0.4),
        ({"compute": {"gradient_checkpointing": True}}, 0.5),
    ):
        assert worker_memory(changed(recipe, **deep, **less), dataset)["activations"] < most * plain, less


def test_show_prints_the_table_and_draws_nothing(recipe: Recipe, dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_yaml(recipe))
    before = torch.get_rng_state()
    printed = show((str(tmp_path / "recipe.yaml"),))
    assert torch.equal(before, torch.get_rng_state())
    parts = worker_memory(recipe, dataset)
    assert all(f"# {line}" in printed for line in table(parts))
    assert f"{sum(parts.values()) / 1e6:,.1f} MB" in printed


def test_an_encoder_that_is_not_here_is_said_and_the_recipe_shown(
    recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    gone = changed(recipe, model={"text": {"kind": "hugging_face", "path": str(tmp_path / "gone"), "frozen": False}})
    (tmp_path / "recipe.yaml").write_text(dump_yaml(gone))
    printed = show((str(tmp_path / "recipe.yaml"),))
    assert "# memory of a worker: not known here" in printed and "embed_dim: 16" in printed
