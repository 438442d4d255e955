"""A user's mistake ends in one line and its exit code, and leaves the store as it was."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.process import free_ports
from infra.storage import Store, open_store
from pipelines.prepare import flow
from pipelines.recipe import Recipe
from pipelines.train.runs import SNAPSHOT, Run, opened
from tests.pipelines.conftest import Road
from tests.pipelines.road import contents, copy, document, flip, prepared, untrained_run, write_recipe, xmodal
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT, write_coco, write_survey
from xmodal import checkpoint
from xmodal.settings import parse, read_yaml

REPOSITORY = Path(__file__).parents[2]
SCRIPT = '"><script>alert(1)</script>'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Over an archive that is an empty folder."""
    (tmp_path / "archive").mkdir()
    return write_recipe(tmp_path / "tiny.yaml", str(tmp_path / "archive"), str(tmp_path / "root"))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """Root and name of a run that never trained."""
    recipe = prepared(str(tmp_path_factory.mktemp("untrained")), tracking={"uri": ""})
    run = untrained_run(recipe)
    return run.store, run.name


def coco_recipe(tmp_path: Path, places: int, name: str = "red fox") -> Path:
    """A COCO Camera Traps archive of one species at `places`, four frames each, and its recipe."""
    stream = io.BytesIO()
    Image.effect_noise((48, 48), 60).convert("RGB").save(stream, "JPEG")
    images: list[dict[str, Any]] = [
        {"id": f"{place}-{n}", "file_name": f"{place}/{n}.jpg", "location": f"place {place}", "category": n % 2}
        for place in range(places)
        for n in range(4)
    ]
    pictures = {one["file_name"]: stream.getvalue() + one["id"].encode() for one in images}
    write_coco(open_store(str(tmp_path / "archive")), images, pictures, (name,))
    path = write_recipe(tmp_path / "coco.yaml", str(tmp_path / "archive"), str(tmp_path / "root"))
    source = {"kind": "coco_camera_traps", "metadata": "metadata.json"}
    survey = {"name": "coco", "archive": str(tmp_path / "archive"), "source": source}
    (tmp_path / "over.yaml").write_text(f"data: {{surveys: [{survey}]}}")
    return path


@pytest.mark.services
def test_a_wrong_endpoint(bucket_url: str, recipe: Path) -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    ended = xmodal("prepare", recipe, f"compute.root={bucket_url}", f"compute.endpoint={address}")
    assert ended.code == 5 and address in ended.line
    assert not contents(open_store(bucket_url))


@pytest.mark.services
def test_an_archive_has_an_endpoint_of_its_own(
    s3, bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`surveys.N.endpoint` is asked, not the environment's; a wrong one is named, and nothing is written."""
    write_survey(open_store(bucket_url))
    dead, wrong = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    monkeypatch.setenv("AWS_ENDPOINT_URL", dead)
    recipe = write_recipe(tmp_path / "tiny.yaml", bucket_url, str(tmp_path / "root"))
    ended = xmodal("prepare", recipe, f"data.surveys.0.endpoint={wrong}")
    assert ended.code == 5 and wrong in ended.line and dead not in ended.line
    assert not contents(open_store(str(tmp_path / "root")))
    told = xmodal("prepare", recipe, "--dry-run", f"data.surveys.0.endpoint={s3.endpoint}")
    assert told.code == 0 and "tiny" in told.out, told.err
    tree = document(bucket_url, str(tmp_path / "root"))
    tree["data"]["surveys"][0]["endpoint"] = s3.endpoint
    data = parse(Recipe, tree).data
    dataset = flow.prepare(data, open_store(str(tmp_path / "root")), IMAGE, TEXT, workers=IN_PROCESS)
    assert (
        dataset.document["surveys"][0]["counts"]["ok"] == sum(part["rows"] for part in dataset.document["pixels"]) > 40
    )


@pytest.mark.services
@pytest.mark.parametrize("verb", ["prepare", "train"])
def test_wrong_credentials(bucket_url: str, recipe: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", "not-the-key-of-anyone")
        ended = xmodal(verb, recipe, f"compute.root={bucket_url}")
    assert ended.code == 1 and "credentials" in ended.line and "not-the-key" not in ended.err
    assert not contents(open_store(bucket_url))


@pytest.mark.services
def test_a_missing_bucket(bucket_url: str, recipe: Path) -> None:
    ended = xmodal("prepare", recipe, "compute.root=s3://no-such-bucket-anywhere/root")
    assert ended.code == 10 and "no-such-bucket-anywhere" in ended.line
    ended = xmodal("prepare", recipe, "data.surveys.0.archive=s3://no-such-bucket-anywhere/archive")
    assert ended.code == 10 and "no-such-bucket-anywhere" in ended.line


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["train.epoch=3"], "train.epoch: no such setting; did you mean train.epochs?"),
        (["model.queue.sise=3"], "did you mean model.queue.size?"),
        (["train.epochs=many"], "train.epochs"),
        (["model.image.kind=vitt"], "did you mean vit?"),
        (["train.global_batch=15"], "must be a multiple of lanes"),
    ],
)
def test_unknown_settings_and_values(recipe: Path, words: list[str], near: str) -> None:
    ended = xmodal("show", recipe, *words)
    assert ended.code == 2 and near in ended.line


def test_an_unknown_recipe(recipe: Path) -> None:
    ended = xmodal("show", "demmo")
    assert ended.code == 2 and "did you mean demo?" in ended.line
    ended = xmodal("prepare", "/no/such/recipe.yaml")
    assert ended.code == 2 and "/no/such/recipe.yaml" in ended.line
    recipe.write_text("name: [")
    assert "not valid YAML" in xmodal("show", recipe).line


def test_an_empty_archive(recipe: Path, tmp_path: Path) -> None:
    for words in ([], ["--dry-run"]):
        ended = xmodal("prepare", recipe, *words)
        assert ended.code == 3 and "no file under" in ended.line
    assert not contents(open_store(str(tmp_path / "root")))


def test_a_split_that_leaves_no_validation_image(tmp_path: Path) -> None:
    recipe = coco_recipe(tmp_path, places=1)
    ended = xmodal("prepare", recipe, tmp_path / "over.yaml")
    assert ended.code == 3 and "no image with a text in" in ended.line and "val" in ended.line
    kept = contents(open_store(str(tmp_path / "root")))
    assert not [key for key in kept if "/versions/" in key], "no version is visible"


def test_metadata_that_is_none(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "archive" / "datapackage.json").write_text("<html>")
    ended = xmodal("prepare", recipe)
    assert ended.code == 3 and "datapackage.json" in ended.line


def test_workers_that_cannot_share_the_lanes(untrained: tuple[Store, str], tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", "unused", untrained[0].url)
    ended = xmodal("train", recipe, "compute.workers=3")
    assert ended.code == 2 and "compute.workers: 3 workers cannot share 2 lanes" in ended.line


def test_training_what_was_never_prepared(recipe: Path, tmp_path: Path) -> None:
    ended = xmodal("train", recipe)
    assert ended.code == 10 and "run xmodal prepare" in ended.line
    assert not contents(open_store(str(tmp_path / "root")))


@pytest.mark.parametrize(
    "words", [["evaluate"], ["predict", "embed"], ["search", "a fox", "--checkpoint"], ["check"]], ids=lambda w: w[0]
)
def test_a_checkpoint_that_is_not_there(words: list[str], untrained: tuple[Store, str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    files = [tmp_path / "a.jpg"] if words[0] == "predict" else []
    report = ["--report", tmp_path / "report.html"] if words[0] == "evaluate" else []
    ended = xmodal(*words, "nobodys-run", *files, *report, "--root", untrained[0].url)
    assert ended.code == 10 and "nobodys-run" in ended.line and untrained[1] in ended.line
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(("words", "option"), [(["evaluate"], "--report"), (["predict", "embed"], "--out")])
def test_a_file_that_cannot_be_written_is_said_before_the_work(words: list[str], option: str, tmp_path: Path) -> None:
    """Even before the checkpoint is looked for, which is not there."""
    image = tmp_path / "a.jpg"
    image.write_bytes(b"")
    files = [image] if words[0] == "predict" else []
    for where, told in [
        (image / "b", "cannot be written"),
        (tmp_path, "a directory is there; give the name of a file"),
        ("/proc/b", "cannot be written"),
    ]:
        ended = xmodal(*words, "nobodys-run", *files, option, where, "--root", tmp_path / "root")
        assert ended.code == 2 and f"{option} {where}: {told}" in ended.line, ended
    assert [one.name for one in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint(file: str, untrained: tuple[Store, str], tmp_path: Path) -> None:
    store, run = untrained
    key = f"runs/{run}/checkpoint-0000000000/{file}"
    (tmp_path / "a.jpg").write_bytes(b"")
    flip(store, key)
    try:
        for words in (["check", run], ["predict", "embed", run, tmp_path / "a.jpg"]):
            ended = xmodal(*words, "--root", store.url)
            assert ended.code == 1 and file in ended.line
    finally:
        flip(store, key)
    assert xmodal("check", run, "--root", store.url).code == 0


def test_a_damaged_best_checkpoint_is_passed_over_where_another_one_is_whole(
    untrained: tuple[Store, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By all that use a run, and said; `check` is of every file and refuses."""
    run = Run(open_store(str(tmp_path)), untrained[1])
    copy(untrained[0], run.store)
    whole, damaged = "checkpoint-0000000000", "checkpoint-0000000001"
    copy(run.store.child(f"{run.prefix}/{whole}"), run.store.child(f"{run.prefix}/{damaged}"))
    snapshot = run.read(SNAPSHOT)
    assert snapshot is not None
    snapshot["checkpoint_results"].append({"checkpoint_dir_name": damaged, "metrics": {"step": 1, "score": 1.0}})
    run.write(SNAPSHOT, snapshot)
    assert [one.directory for one in run.best()] == [damaged, whole]
    with opened(run.store, run.name):
        assert not capsys.readouterr().err
    flip(run.store, f"{run.prefix}/{damaged}/model.safetensors")
    with opened(run.store, run.name) as directory:
        checkpoint.verify(directory)
    told = capsys.readouterr().err
    assert damaged in told and "model.safetensors" in told and f"{whole} is taken instead" in told
    ended = xmodal("check", run.name, "--root", run.store.url)
    assert ended.code == 1 and damaged in ended.line and "model.safetensors" in ended.line


def test_a_damaged_dataset(tmp_path: Path) -> None:
    store = prepared(str(tmp_path)).compute.store()
    part = next(entry.key for entry in store.list("datasets/tiny/records"))
    flip(store, part)
    assert xmodal("check", "tiny", "--root", store.url).code == 0, "sizes alone are right"
    ended = xmodal("check", "tiny", "--read-data", "--root", store.url)
    assert ended.code == 1 and Path(part).name in ended.line and "damaged" in ended.line


@pytest.mark.parametrize("words", [["submit", "trian", "--address", "http://x:1"], ["trian"], ["predict", "trian"]])
def test_unknown_verbs(words: list[str]) -> None:
    ended = xmodal(*words)
    assert ended.code == 2 and ended.err.startswith("Usage: ") and "trian" in ended.err.splitlines()[-1]


def test_a_cluster_that_is_not_there() -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    for words in (["show", "demo"], ["status", "some-job"], ["logs", "some-job"], ["logs", "some-job", "--wait"]):
        ended = xmodal("submit", *words, "--address", address)
        assert ended.code == 5 and address in ended.line and "no answer" in ended.line


@pytest.mark.parametrize("words", [["status"], ["logs", "one", "two"], ["status", "one", "--id", "two"]])
def test_a_look_at_no_job_or_at_several(words: list[str]) -> None:
    ended = xmodal("submit", *words, "--address", "http://x:1")
    assert ended.code == 2 and "takes the id of one job" in ended.err.splitlines()[-1]


def test_a_species_may_be_named_like_a_script(tmp_path: Path) -> None:
    """Plain text in every page, whatever it says."""
    path = coco_recipe(tmp_path, places=12, name=SCRIPT)
    words = (path, tmp_path / "over.yaml")
    ended = xmodal("prepare", *words)
    assert ended.code == 0, ended.err
    tree = read_yaml(path)
    tree["data"]["surveys"] = read_yaml(tmp_path / "over.yaml")["data"]["surveys"]
    run = untrained_run(parse(Recipe, tree))
    ended = xmodal("evaluate", run.name, "--root", run.store.url, "--report", tmp_path / "report.html")
    assert ended.code == 0, ended.err
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page and "script&gt;alert(1)" in page


@pytest.mark.ray
@pytest.mark.services
@pytest.mark.timeout(600)
def test_tracking_that_is_not_there(road: Road) -> None:
    """Said before any worker starts; nothing is left behind."""
    before = contents(road.root)
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    ended = xmodal("train", road.recipe, "train.seed=99", f"tracking.uri={address}")
    assert ended.code == 5 and address in ended.line
    assert contents(road.root) == before


def test_a_process_ends_in_one_line_and_help_imports_nothing_heavy() -> None:
    """Two real processes: the console's own ending, and what `--help` loads."""
    command = [sys.executable, "-m", "pipelines", "show", "demmo"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and ended.stderr.startswith("xmodal: demmo: ") and ended.stderr.count("\n") == 1
    program = (
        "import sys, runpy; sys.argv = ['xmodal', '--help']\n"
        "try: runpy.run_module('pipelines', run_name='__main__')\n"
        "finally: print([name for name in ('torch', 'ray', 'mlflow', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    helped = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert helped.stdout.startswith("Usage: ") and helped.stdout.splitlines()[-1] == "[]"
