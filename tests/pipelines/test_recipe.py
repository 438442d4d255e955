"""Recipes that come with xmodal: each is valid, and the reading of ReCap goes over every survey's."""

from pathlib import Path

import pytest
import torch

from pipelines.recipe import load_recipe
from tests.xmodal import tiny
from xmodal.model import CrossModalModel
from xmodal.settings import SettingsError

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
