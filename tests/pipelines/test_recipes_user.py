"""The USER recipes on a generated folder of the published layout, in object storage: a real S3 server, real workers."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from infra.storage import open_store
from pipelines.experiments.fit import fit
from pipelines.prepare.flow import prepare
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe, load_recipe
from pipelines.train.plan import TrainingPlan, build_model, sample_reader
from pipelines.train.validate import Validation
from tests.pipelines.precomp_folder import GUIDE, REGIONS, WIDTH, write_precomp
from tests.pipelines.road import trained_run, untrained_run, xmodal

BERT = {"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
SMALL: dict[str, Any] = {
    "model": {
        "embed_dim": 16,
        "image": {"regions": REGIONS, "width": WIDTH},
        "head": {"hidden": 12},
        "text": {"path": None, "config": BERT | {"intermediate_size": 32, "max_position_embeddings": 64}},
        "queue": {"size": 16},
        "momentum": {"coefficient": 0.9},
    },
    "train": {"epochs": 3, "global_batch": 8, "lanes": 2, "optimizer": {"learning_rate": 5e-3, "text_factor": 0.5}},
    "tracking": {"uri": None},
}


def small(name: str, archive: str, root: str, images: dict[str, int], folder: Path) -> Path:
    """What makes a shipped recipe one of a tiny folder; its parts, tasks, protocols and published figures stay."""
    recipe = load_recipe([name])
    (survey,) = recipe.model_dump(mode="json")["data"]["surveys"]
    source = survey["source"] | {"regions": [REGIONS, WIDTH], "images": images}
    changes = SMALL | {
        "data": {"surveys": [{"name": survey["name"], "archive": archive, "source": source}], "pixels": {"size": 32}},
        "evaluation": {"fold_images": 5},
        "compute": {"root": root},
    }
    path = folder / "small.yaml"
    with path.open("w") as file:
        YAML().dump(changes, file)
    return path


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.services
@pytest.mark.timeout(600)
def test_user_coco_runs_on_a_folder_in_object_storage(ray_cluster: str, bucket_url: str, tmp_path: Path) -> None:
    sizes = {"train": 40, "dev": 8, "testall": 12}
    write_precomp(tmp_path / "coco", sizes)
    archive = open_store(f"{bucket_url}/coco")
    for file in sorted((tmp_path / "coco").iterdir()):
        archive.put(file.name, file.read_bytes())
    images = {"train": 40, "test": 12}
    words = ["user-coco", small("user-coco", archive.url, f"{bucket_url}/root", images, tmp_path)]
    prepared = xmodal("prepare", *words)
    assert prepared.code == 0, prepared.err
    trained = xmodal("train", *words)
    assert trained.code == 0, trained.err
    run = trained_run(trained)
    report = tmp_path / "report.html"
    ended = xmodal("evaluate", run, "--root", f"{bucket_url}/root", "--ensemble", run, "--report", report)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert any(line.startswith("USER: its tables are not published") for line in lines)
    compared = [line for line in lines if line.startswith("VSE-infinity, regions and BERT")]
    assert len(compared) == 4 and all("mean over folds of 5, one model" in line for line in compared)
    assert all("not measured" not in line for line in lines if line.startswith("DIME*"))
    assert "Dead positives" in report.read_text() or "dead_positives" in report.read_text()
    found = xmodal("search", "a", "dog", "--checkpoint", run, "--root", f"{bucket_url}/root", "-k", "3", "--json")
    assert len([json.loads(line) for line in found.out.splitlines()]) == 3, found.err


GUIDED = (
    f"model.image.guide_width={GUIDE}",
    f"model.image_enhance=[{{kind: clip_guided, guide_width: {GUIDE}}}, {{kind: self_guided, dropout: 0.4}}]",
)


@pytest.mark.parametrize("enhanced", [(), GUIDED], ids=["SGE", "CGE"])
def test_user_f30k_learns_and_stands_beside_what_is_published(enhanced: tuple[str, ...], tmp_path: Path) -> None:
    write_precomp(tmp_path / "f30k", {"train": 40, "dev": 10, "test": 12}, guide=bool(enhanced), empty=True)
    images, root = {"train": 40, "test": 12}, str(tmp_path / "root")
    path = small("user-f30k", str(tmp_path / "f30k"), root, images, tmp_path)
    recipe = load_recipe(["user-f30k", str(path), *enhanced, "evaluation.fold_images=null", "train.epochs=30"])
    dataset = prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    judge = Validation(dataset, sample_reader(recipe, dataset), 100)
    before = judge.measure(build_model(recipe, dataset), "cpu")
    after = judge.measure(fit(recipe, TrainingPlan.of(recipe, dataset), "cpu"), "cpu")
    assert after["val/score"] == after["val/rsum"] > before["val/score"] + 25
    run = untrained_run(recipe)
    ended = xmodal("evaluate", run.name, "--root", root, "--report", tmp_path / "report.html")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert any(line.startswith("USER: its tables are not published") for line in lines)
    for name, figures in (("VSE-infinity, regions and BERT", 4), ("NAAF, released model", 7)):
        compared = [line for line in lines if line.startswith(name)]
        assert len(compared) == figures and all("not measured" not in line for line in compared)


@pytest.mark.parametrize("name", ["user-f30k", "user-coco"])
def test_the_recipes_say_what_the_release_does(name: str) -> None:
    recipe: Recipe = load_recipe([name])
    model, uto = recipe.model, recipe.model.tasks.uto
    assert uto is not None and (uto.mu, uto.gamma, uto.fn_policy) == (90, 0.5, "none")
    assert (uto.batch_weight, model.queue.size) == {"user-f30k": (20, 2048), "user-coco": (1, 4096)}[name]
    assert model.momentum.coefficient == 0.999 and model.embed_dim == 1024 and recipe.train.words is not None
    assert recipe.evaluation.published[0].name == "USER" and not recipe.evaluation.published[0].figures
    assert recipe.train.optimizer.decayed(0.99) == 0.1
