"""What the first issue froze, word by word: stored columns, the queue's columns, the verbs, the recipe tree.

Datasets, checkpoints, recipes and scripts out there hold these names. Later work adds to them, and then adds here; it
renames, retypes and removes none.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import cli
from pipelines.dataset import Dataset
from pipelines.prepare.parts import LEDGER, PIXELS, RECORDS, TEXT_FEATURES
from pipelines.recipe import Recipe
from pipelines.tune.space import Space
from tests.pipelines.precomp_folder import write_precomp
from tests.pipelines.test_precomp_road import made
from xmodal.queue import FeatureQueue
from xmodal.settings import Settings

TREE = Path(__file__).parent / "frozen_settings.txt"
"""The recipe tree, a line a group of settings: its path (with the kind of a union), and its names."""

STORED = {
    "pixels": {
        "sample_id": "string", "key": "string", "image": "binary", "width": "int32", "height": "int32",
        "infrared": "bool", "source_sha256": "fixed_size_binary[32]", "crop": "string",
    },
    "records": {
        "sample_id": "string", "media_id": "string", "event_id": "string", "deployment_id": "string",
        "survey": "string", "place": "string", "split": "string", "split_reason": "string", "captured_at": "string",
        "utc_offset": "int32", "clock_trusted": "bool", "taxon": "string", "taxon_rank": "string", "codes": "binary",
        "captions": "binary", "facts": "binary", "n_boxes": "int32", "boxes": "binary", "box_conf": "binary",
        "box_class": "binary", "box_taxon": "binary", "licence": "string", "rights_holder": "string",
        "incumbents": "binary", "crop": "string",
    },
    "ledger": {
        "survey": "string", "key": "string", "etag": "string", "version_id": "string", "size": "int64",
        "last_modified": "timestamp[us, tz=UTC]", "seen_at": "timestamp[us, tz=UTC]",
        "sha256": "fixed_size_binary[32]", "status": "string", "reason": "string", "media_id": "string",
        "item": "string", "fingerprint": "string", "prepare_id": "string", "magic": "string", "exif_turn": "int32",
        "clock_flags": "string", "infrared": "bool", "look": "int64",
    },
    "features of texts": {"sample_id": "string", "features": "binary", "lengths": "binary"},
}  # fmt: skip
DOCUMENT = (
    "format dataset version parent commit_id fence created_at schema prepare code split captions taxonomy surveys "
    "counts vocabularies withdrawn pixels records features ledger digest"
)
"""Names at the top of a version document."""
QUEUE = {
    "image": "float32", "text": "float32", "sample_id": "int64", "caption_id": "int64", "sequence_id": "int64",
    "image_codes": "int32", "text_codes": "int32", "valid": "bool", "step_written": "int64", "total": "int64",
}  # fmt: skip
VERBS = {
    "show": "recipe --all",
    "prepare": "recipe --dry-run --report --sample",
    "train": "recipe --again",
    "tune": "space recipe --best --report --at-once --hours",
    "evaluate": "checkpoint overrides --root --report --json --card --ensemble --against --beams",
    "predict embed": "checkpoint images --out --root",
    "predict classify": "checkpoint images --out --root --to --dataset --survey --precision --deployments --package "
    "--utc-offset --card --unlabelled --review --seconds-a-look --reviewed --public",
    "predict caption": "checkpoint images --out --root --beams",
    "serve": "checkpoint --dataset --root --host --port --token --index --review --precision --card --deployments "
    "--utc-offset",
    "export": "checkpoint --to --as --dataset --card --root",
    "search": "text --checkpoint --root --split -k --rerank --json",
    "check": "target --root --read-data",
    "gc": "dataset --root --dry-run --older-than",
    "seen": "images --card --place --json",
    "retrain": "recipe --report --kept-is-success",
    "promote": "version --root --tracking --why",
    "schedule": "recipe --every --target --cluster",
    "submit": "verb arguments --address --env --id --runtime-env --wait",
}


def only_added_to(what: str, now: Mapping[str, Any], frozen: Mapping[str, Any]) -> None:
    """Every frozen name is there and means what it meant."""
    changed = [f"{name}: {kind} became {now.get(name, 'nothing')}" for name, kind in frozen.items()
               if now.get(name) != kind]  # fmt: skip
    assert not changed, f"{what} may only be added to, and what exists holds the old names: {'; '.join(changed)}"


def types(schema: pa.Schema) -> dict[str, str]:
    return {field.name: str(field.type) for field in schema}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """With cached features of images."""
    folder = tmp_path_factory.mktemp("frozen")
    write_precomp(folder / "archive", {"train": 6, "dev": 2, "test": 2})
    return made(folder / "archive", folder / "root")[1]


def test_the_declared_columns() -> None:
    declared = {"pixels": PIXELS, "records": RECORDS, "ledger": LEDGER, "features of texts": TEXT_FEATURES}
    for name, schema in declared.items():
        only_added_to(f"the columns of {name}", types(schema), STORED[name])


def test_the_columns_of_files_and_the_version_document(dataset: Dataset) -> None:
    """As any other reader finds them."""
    document, home = dataset.document, Path(dataset.store.url) / "datasets" / dataset.name
    assert set(DOCUMENT.split()) <= document.keys(), "a version document may only be added to"
    for name in ("pixels", "records", "ledger"):
        for part in document[name]:
            assert {"path", "sha256", "bytes", "rows"} <= part.keys()
            only_added_to(f"the columns of {name}", types(pq.read_schema(home / part["path"])), STORED[name])
    (features,) = document["features"]
    assert {"encoder", "kind", "shape", "parts"} <= features.keys()
    found = types(pq.read_schema(home / features["parts"][0]["path"]))
    rows, width = features["shape"]
    only_added_to("features", found, {"sample_id": "string", "features": f"fixed_size_binary[{2 * rows * width}]"})


def test_the_columns_of_the_queue() -> None:
    state = FeatureQueue(4, 3, 2).state()
    only_added_to("the queue", {name: str(one.dtype).removeprefix("torch.") for name, one in state.items()}, QUEUE)


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every verb with its arguments and options, by their first names."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} ")
        else:
            parts = command.params
            yield before + name, {one.opts[0] if isinstance(one, click.Option) else str(one.name) for one in parts}


def test_the_verbs_and_their_words() -> None:
    now = dict(commands(cli))
    for verb, words in VERBS.items():
        lost = set(words.split()) - now.get(verb, set())
        assert not lost, f"verbs may only be added to: {verb} has lost {', '.join(sorted(lost))}"


def classes(annotation: Any) -> list[type[Settings]]:
    """The settings that a field may hold."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Settings) else []
    return [one for part in get_args(annotation) for one in classes(part)]


def groups(kind: type[Settings], path: str = "recipe") -> Iterator[tuple[str, set[str]]]:
    """Path and names of each group of settings."""
    yield path, set(kind.model_fields)
    for name, field in kind.model_fields.items():
        for one in classes(field.annotation):
            told = one.model_fields.get("kind")
            below = name if told is None else f"{name}[{get_args(told.annotation)[0]}]"
            yield from groups(one, below if path == "recipe" else f"{path}.{below}")


def test_the_trees_of_recipes_and_search_spaces() -> None:
    now = dict(groups(Recipe)) | dict(groups(Space, "space"))
    for line in TREE.read_text().splitlines():
        path, _, names = line.partition(": ")
        lost = set(names.split()) - now.get(path, set())
        assert not lost, f"settings may only be added to: {path} has lost {', '.join(sorted(lost))}"
