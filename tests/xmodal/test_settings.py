"""The settings tree: merging, overriding, one-line errors, fingerprints."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from xmodal.settings import Settings, SettingsError, differences, dump_yaml, fingerprint, flatten, load, parse


class Round(Settings):
    kind: Literal["round"]
    radius: float = Field(default=1.0, gt=0)


class Square(Settings):
    kind: Literal["square"]
    side: float = 2.0


class Queue(Settings):
    queue_size: int = 64


class Tree(Settings):
    name: str = "tree"
    shape: Annotated[Round | Square, Field(discriminator="kind")] = Round(kind="round")
    model: Queue = Queue()
    optional: Queue | None = None
    many: tuple[Queue, ...] = ()


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_later_files_and_overrides_win(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "name: first\nmodel: {queue_size: 1}\n")
    second = write(tmp_path / "b.yaml", "model: {queue_size: 2}\n")
    tree = load(Tree, [first, second, "model.queue_size=3", "shape.radius=3e-4"])
    assert (tree.name, tree.model.queue_size) == ("first", 3)
    assert isinstance(tree.shape, Round) and tree.shape.radius == 3e-4


def test_another_kind_replaces_the_mapping_below(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "shape: {kind: round, radius: 5}\n")
    second = write(tmp_path / "b.yaml", "shape: {kind: square}\n")
    assert load(Tree, [first, second]).shape == Square(kind="square")


def test_yaml_is_1_2(tmp_path: Path) -> None:
    assert load(Tree, [write(tmp_path / "a.yaml", "name: no\n")]).name == "no"
    with pytest.raises(SettingsError, match="not valid YAML"):
        load(Tree, [write(tmp_path / "b.yaml", "name: a\nname: b\n")])


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.queu_size=3", "model.queu_size: no such setting; did you mean model.queue_size?"),
        ("modle.queue_size=3", "modle: no such setting; did you mean model?"),
        ("shape.kind=rond", "shape.kind: 'rond' is no known kind; allowed: round, square; did you mean round?"),
        ("shape.radius=-1", "shape.radius: input should be greater than 0 (given -1)"),
        (
            "model.queue_size=many",
            "model.queue_size: input should be a valid integer, unable to parse string as an integer (given 'many')",
        ),
        ("optional.queu_size=1", "optional.queu_size: no such setting; did you mean optional.queue_size?"),
        ("many.0.queue_size=1", "many.0.queue_size: 0 is no position in a list of 0"),
        ("name.first=1", "name.first: name is a single value, nothing can be set below it"),
        ("missing.yaml", "missing.yaml: cannot read this recipe (No such file or directory)"),
    ],
)
def test_a_mistake_is_one_line(override: str, line: str, tmp_path: Path) -> None:
    base = write(tmp_path / "a.yaml", "name: a\nshape: {kind: round}\nmany: []\n")
    with pytest.raises(SettingsError) as caught:
        load(Tree, [base, override])
    assert str(caught.value) == line


def test_a_dump_reads_back_and_holds_only_differences() -> None:
    tree = parse(Tree, {"shape": {"kind": "square", "side": 3.5}, "optional": {}, "many": [{"queue_size": 7}]})
    assert differences(tree) == {"shape": {"kind": "square", "side": 3.5}, "optional": {}, "many": [{"queue_size": 7}]}
    assert parse(Tree, differences(tree)) == tree
    assert "name" not in dump_yaml(tree) and "name: tree" in dump_yaml(tree, whole=True)


def test_flatten_names_every_leaf() -> None:
    leaves = flatten(parse(Tree, {"many": [{"queue_size": 7}]}))
    assert leaves["many.0.queue_size"] == 7 and leaves["shape.kind"] == "round" and leaves["optional"] is None


def test_a_fingerprint_ignores_defaults_and_sees_differences() -> None:
    same = fingerprint({"model": Tree(name="tree")})
    assert same == fingerprint({"model": Tree()}) and len(same) == 16
    assert same != fingerprint({"model": Tree(name="other")})
    assert same != fingerprint({"train": Tree()})
    assert fingerprint({"data": "digest"}) != fingerprint({"data": "other"})
