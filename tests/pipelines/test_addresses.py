"""Addresses of a recipe: read where they are used, never with a password, and what a mistake shows of them."""

from pathlib import Path

import pytest

from infra.storage import Denied, open_store
from pipelines.addresses import read_address
from pipelines.recipe import Recipe, load_recipe
from pipelines.tracked import tracking_uri
from tests.pipelines.road import document, write_recipe, xmodal
from xmodal.settings import SettingsError, dump_yaml, flatten, parse

PLANTED = "planted-and-never-shown"
LOGIN = f"http://me:{PLANTED}@127.0.0.1:5000"


def test_a_reference_is_kept_everywhere_and_resolved_at_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recipe(
        tmp_path / "tiny.yaml", "${env:SURVEYS}/tiny", "${env:PLACE}", tracking={"uri": "http://${env:MLFLOW}:5000"}
    )
    monkeypatch.setenv("PLACE", str(tmp_path / "root"))
    monkeypatch.setenv("SURVEYS", str(tmp_path))
    monkeypatch.setenv("MLFLOW", "first")
    recipe = load_recipe([str(path)])
    assert recipe.compute.store().url == str(tmp_path / "root")
    assert recipe.data.surveys[0].store().url == f"{tmp_path}/tiny"
    assert tracking_uri(recipe) == "http://first:5000"
    monkeypatch.setenv("MLFLOW", "second")
    assert tracking_uri(recipe) == "http://second:5000"
    kept = dump_yaml(recipe) + str(flatten(recipe))
    assert kept.count("http://${env:MLFLOW}:5000") == 2 and str(tmp_path) not in kept
    assert load_recipe([str(path)]).fingerprint() == recipe.fingerprint()
    monkeypatch.delenv("SURVEYS")
    ended = xmodal("prepare", path)
    assert (
        ended.code == 2 and ended.line == "xmodal: archive of survey tiny: ${env:SURVEYS} is not set in the environment"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tracking": {"uri": LOGIN}}, "tracking.uri"),
        ({"compute": {"endpoint": LOGIN}}, "compute.endpoint"),
        ({"description": f"see {LOGIN} for more"}, "description"),
        ({"data": {"surveys": [{"name": "a", "archive": f"s3://{PLANTED}@bucket/x"}]}}, "data.surveys.0.archive"),
    ],
)
def test_a_login_is_refused_wherever_it_stands_and_not_shown(changes: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{said}: this address holds a user name or a password") as caught:
        parse(Recipe, document("archive", "root", **changes))
    assert PLANTED not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"tracking.uri={LOGIN}"], "tracking.uri: this address holds"),
        ([f"tracking.uri=[{LOGIN}"], "tracking.uri: the value is not valid YAML"),
        ([f"tracking.password={LOGIN}"], "tracking.password: "),
        ([f"train.epochs={LOGIN}"], "train.epochs: "),
    ],
)
def test_no_mistake_shows_a_login(words: list[str], said: str, tmp_path: Path) -> None:
    ended = xmodal("show", write_recipe(tmp_path / "tiny.yaml", "archive", "root"), *words)
    assert ended.code == 2 and ended.line.startswith(f"xmodal: {said}") and PLANTED not in ended.out + ended.err


def test_no_mistake_shows_a_secret_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", PLANTED)
    path = write_recipe(tmp_path / "tiny.yaml", "archive", "root")
    for words in ([f"train.epochs={PLANTED}"], [f"data.split.kind={PLANTED}"], [f"{PLANTED}.yaml"]):
        ended = xmodal("show", path, *words)
        assert ended.code == 2 and "***" in ended.line and PLANTED not in ended.out + ended.err
    ended = xmodal("submit", PLANTED, "--address", "http://x:1")
    assert ended.code == 2 and "***: no such verb" in ended.err and PLANTED not in ended.err


def test_lines_of_a_broken_recipe_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    for text in (f"a: {LOGIN}\n  b: 1\n", f"a: {LOGIN}\na: {LOGIN}\n", f"a: [{LOGIN}\n", f"a: '\\x00{PLANTED}\n"):
        path.write_text(text)
        ended = xmodal("show", path)
        assert ended.code == 2 and PLANTED not in ended.err, text
        assert ended.line.startswith(f"xmodal: {path}: not valid YAML (line "), ended.line
    path.write_bytes(b"a: \xff" + PLANTED.encode())
    assert xmodal("show", path).line == f"xmodal: {path}: not valid YAML (UnicodeDecodeError)"


def test_addresses_of_the_environment_hold_no_login_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe([str(write_recipe(tmp_path / "tiny.yaml", "archive", "root"))])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", LOGIN)
    with pytest.raises(
        SettingsError, match=r"^MLFLOW_TRACKING_URI: this address holds .* set MLFLOW_TRACKING_USERNAME"
    ):
        tracking_uri(recipe)
    ended = xmodal("promote", "a-model/1")
    assert ended.code == 2 and ended.line.startswith("xmodal: MLFLOW_TRACKING_URI: ") and PLANTED not in ended.err
    with pytest.raises(SettingsError, match=r"^x: this address holds"):
        monkeypatch.setenv("WHOLE", LOGIN)
        read_address("x", "${env:WHOLE}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", LOGIN)
    with pytest.raises(Denied, match=r"^s3://bucket: its endpoint holds a user name or a password") as caught:
        open_store("s3://bucket")
    assert PLANTED not in str(caught.value)


def test_a_job_keeps_nothing_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes when the job has ended."""
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    ended = xmodal("check", "tiny")
    assert ended.code == 2 and ended.line == (
        "xmodal: compute.root: .xmodal/root would go with the folder of this job; set it, or XMODAL_ROOT, to "
        "s3://bucket/prefix"
    )
    assert xmodal("check", "tiny", "--root", tmp_path).code == 10
