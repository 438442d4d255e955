"""A checkpoint: one directory that holds everything a run is, in safetensors and JSON, without pickle.

    model.safetensors       query encoder, temperature, tasks    recipe.yaml       the recipe, itself a recipe
    key.safetensors         key encoder, averages of tasks       wordpiece.json    caption vocabulary
    queue.safetensors       every column of the queue            attributes.json   attribute vocabulary
    optimizer.safetensors   moments; optimizer.json the rest     state.json        step, history, provenance
    rng.json                generators of every rank             manifest.json     size and sha256 of each

Neither safetensors nor JSON notices a flipped bit, so what is read is first compared with the manifest, and the
manifest, which is written last, with its own digest.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from xmodal import generators, tensor_file
from xmodal.model import CrossModalModel
from xmodal.wordpiece import WordPiece

MANIFEST = "manifest.json"
FORMAT = 1
WEIGHTS = ("model.safetensors",)
MOMENTUM = ("key.safetensors", "queue.safetensors")
OPTIMIZER = ("optimizer.safetensors", "optimizer.json")
DOCUMENTS = ("recipe.yaml", "wordpiece.json", "attributes.json", "state.json", "rng.json")
FILES = (*WEIGHTS, *MOMENTUM, *OPTIMIZER, *DOCUMENTS)


class Damaged(Exception):
    """A file of a checkpoint is missing, cut or changed, or does not fit the model; the text names the file."""


class Missing(Damaged):
    """A file that the checkpoint must have is not there."""


def save(
    directory: str | Path,
    *,
    model: CrossModalModel,
    queue: dict[str, Tensor],
    optimizer: Optimizer,
    state: dict[str, Any],
    recipe_yaml: str,
    wordpiece: WordPiece,
    attributes_json: str,
    rng: list[dict[str, Any]],
) -> None:
    """Writes a checkpoint into `directory`. `queue` is the `state()` of the model's queue, which is asked of all ranks
    at once; `state` is JSON data; `rng` is each rank's `rng_state()`, in rank order. Raises OSError."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name in WEIGHTS + MOMENTUM[:1]:
        tensor_file.write(folder / name, _weights(model, name))
    tensor_file.write(folder / "queue.safetensors", queue)
    tensors, rest = tensor_file.optimizer_parts(optimizer)
    tensor_file.write(folder / "optimizer.safetensors", tensors)
    texts = {
        "optimizer.json": json.dumps(rest),
        "recipe.yaml": recipe_yaml,
        "wordpiece.json": wordpiece.to_json(),
        "attributes.json": attributes_json,
        "state.json": json.dumps(state),
        "rng.json": json.dumps(rng),
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    _write_manifest(folder, model.identities | model.teachers)


def verify(directory: str | Path, names: Iterable[str] | None = None) -> None:
    """Compares the named files, or all that the manifest lists, with the manifest: sizes and sha256. Raises Damaged or
    Missing naming the first file that differs."""
    folder = Path(directory)
    stated = _manifest(folder)["files"]
    for name in stated if names is None else names:
        data = _read(folder, name)
        if name not in stated:
            raise Damaged(f"{folder / MANIFEST}: does not list {name}")
        if len(data) != stated[name]["size"]:
            raise Damaged(f"{folder / name}: {len(data)} bytes, the manifest says {stated[name]['size']}")
        if hashlib.sha256(data).hexdigest() != stated[name]["sha256"]:
            raise Damaged(f"{folder / name}: the content is not what was saved (sha256 differs)")


def restore(directory: str | Path, *, model: CrossModalModel, optimizer: Optimizer) -> dict[str, Any]:
    """Puts a whole verified checkpoint into `model`, its queue and `optimizer`; returns the saved state.

    Everything is bit for bit what was saved, except the random generators (`restore_rng`). Raises Damaged.
    """
    folder = Path(directory)
    verify(folder, FILES)
    _check_identities(folder, model.identities | model.teachers)
    _load_model(folder, model, ("model.safetensors", "key.safetensors"))
    _load_queue(folder, model)
    with _fitting(folder / "optimizer.safetensors"):
        rest = json.loads(_read(folder, "optimizer.json"))
        tensor_file.load_optimizer(optimizer, tensor_file.read(folder / "optimizer.safetensors"), rest)
    return json.loads(_read(folder, "state.json"))


def load_weights(directory: str | Path, model: CrossModalModel) -> None:
    """The query encoder, temperature and tasks alone, and a key encoder made equal to them with an empty queue: for
    inference and for a warm start. Reads no other file. Raises Damaged."""
    folder = Path(directory)
    verify(folder, WEIGHTS)
    _check_identities(folder, model.identities)
    _load_model(folder, model, WEIGHTS)
    model.restart_momentum()


def load_warm(directory: str | Path, model: CrossModalModel) -> None:
    """`load_weights` for a model that trains on: of a vocabulary that has grown since, new pieces keep the weights that
    `model` has for them. Raises Damaged, also where a piece of the checkpoint is another one in the model."""
    folder = Path(directory)
    check_vocabulary(folder, model)
    verify(folder, WEIGHTS)
    _check_identities(folder, model.identities)
    with _fitting(folder / WEIGHTS[0]):
        ours, saved = model.state_dict(), tensor_file.read(folder / WEIGHTS[0])
        pieces = len(read_wordpiece(folder)), len(model.wordpiece)
        _put(model, WEIGHTS[0], {name: _grown(one, ours.get(name), *pieces) for name, one in saved.items()})
    model.restart_momentum()


def _grown(saved: Tensor, ours: Tensor | None, before: int, now: int) -> Tensor:
    """A tensor of `before` pieces (before, ...) with the rows of `ours` (now, ...) for those after them."""
    if ours is None or (saved.shape[:1], ours.shape[:1]) != ((before,), (now,)):
        return saved
    return torch.cat([saved, ours[before:].to(saved)])


def check_vocabulary(directory: str | Path, model: CrossModalModel) -> None:
    """Raises Damaged where weights of words in the checkpoint are of other words than the model's: two vocabularies of
    one size have tensors of one shape. The model may have more of them, after those of the checkpoint."""
    saved = read_wordpiece(directory)
    theirs, ours = model.vocabularies(saved), model.vocabularies(model.wordpiece)
    for name, pieces in theirs.items():
        if pieces != ours[name][: len(pieces)]:
            moved = sum(one != other for one, other in zip(pieces, ours[name], strict=False))
            raise Damaged(
                f"{Path(directory) / 'wordpiece.json'}: its {len(pieces)} pieces, whose weights {name} has, are "
                f"not the {len(ours[name])} of this dataset ({moved} of the same id differ); take a version of the "
                "dataset it was trained on, or a later one (a child keeps the vocabulary, and adds at its end)"
            )


def load_momentum(directory: str | Path, model: CrossModalModel) -> None:
    """Key encoders and queue as they were saved, after `load_weights`: for what is measured of them. Raises Damaged."""
    folder = Path(directory)
    verify(folder, MOMENTUM)
    _load_model(folder, model, MOMENTUM[:1])
    _load_queue(folder, model)


def read_state(directory: str | Path) -> dict[str, Any]:
    """What was saved as `state`."""
    return json.loads(read_text(directory, "state.json"))


def restate(directory: str | Path, **changes: Any) -> None:
    """Changes what a verified checkpoint says of itself, and nothing else of it. Raises Damaged."""
    folder = Path(directory)
    verify(folder, FILES)
    encoders = _manifest(folder)["encoders"]
    (folder / "state.json").write_text(json.dumps(read_state(folder) | changes), encoding="utf-8")
    _write_manifest(folder, encoders)


def copy_part(directory: str | Path, target: str | Path, names: Iterable[str], recipe_yaml: str) -> None:
    """Puts the files `names` of a checkpoint, verified, into the folder `target` with a manifest of their own, the
    recipe as `recipe_yaml` has it: a checkpoint that can be used, and not trained on. Raises Damaged, OSError."""
    folder, other, wanted = Path(directory), Path(target), tuple(names)
    verify(folder, wanted)
    for name in wanted:
        shutil.copyfile(folder / name, other / name)
    (other / "recipe.yaml").write_bytes(recipe_yaml.encode())
    _write_manifest(other, _manifest(folder)["encoders"], wanted)


def weights_digest(directory: str | Path) -> str:
    """SHA-256 of the query encoders' weights, as the manifest has it. Raises Damaged."""
    return _manifest(Path(directory))["files"][WEIGHTS[0]]["sha256"]


def read_text(directory: str | Path, name: str) -> str:
    """One of the text files, verified: recipe.yaml, wordpiece.json, attributes.json. Raises Damaged."""
    verify(directory, [name])
    return _read(Path(directory), name).decode()


def read_wordpiece(directory: str | Path) -> WordPiece:
    """The caption vocabulary. Raises Damaged."""
    return WordPiece.from_json(read_text(directory, "wordpiece.json"))


def rng_state() -> dict[str, Any]:
    """This process's generators as JSON data."""
    return generators.state()


def restore_rng(directory: str | Path, rank: int, world_size: int) -> None:
    """Sets this process's generators: to those of its rank where the world size is the same, else to one derived from
    them (draws that matter across world sizes are keyed by sample and use none of these)."""
    states = json.loads(read_text(directory, "rng.json"))
    generators.restore(states[rank % len(states)])
    if world_size != len(states):
        torch.manual_seed(torch.initial_seed() + rank)


def _write_manifest(folder: Path, encoders: dict[str, str], names: Iterable[str] = FILES) -> None:
    contents = {name: (folder / name).read_bytes() for name in names}
    files = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    manifest = {"format": FORMAT, "encoders": encoders, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest | {"digest": _digest(manifest)}, indent=1), encoding="utf-8")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read(folder, MANIFEST))
        digest = manifest.pop("digest")
    except (ValueError, KeyError, AttributeError):
        raise Damaged(f"{folder / MANIFEST}: no readable manifest") from None
    if digest != _digest(manifest):
        raise Damaged(f"{folder / MANIFEST}: the content is not what was saved (its digest differs)")
    if manifest["format"] != FORMAT:
        raise Damaged(f"{folder / MANIFEST}: checkpoint format {manifest['format']}, this release reads {FORMAT}")
    return manifest


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise Missing(f"{folder / name}: this file of the checkpoint cannot be read ({error.strerror})") from None


def _check_identities(folder: Path, identities: dict[str, str]) -> None:
    saved = _manifest(folder)["encoders"]
    for name, identity in identities.items():
        if saved.get(name) != identity:
            held = saved.get(name)
            raise Damaged(f"{folder / MANIFEST}: trained on {name} encoder {held}, this model's is {identity}")


def _weights(model: CrossModalModel, name: str) -> dict[str, Tensor]:
    """The part of the model's state that the file `name` holds: averages stand in one of their own."""
    keys, wanted = tuple(f"{place}." for place in model.key_encoders), name == "key.safetensors"
    return {key: one for key, one in model.state_dict().items() if key.startswith(keys) == wanted}


def _load_model(folder: Path, model: CrossModalModel, names: tuple[str, ...]) -> None:
    """Every tensor of the named files into `model`; tensors it lacks or has beyond them are refused."""
    for name in names:
        with _fitting(folder / name):
            _put(model, name, tensor_file.read(folder / name))


def _put(model: CrossModalModel, name: str, tensors: dict[str, Tensor]) -> None:
    """The tensors of the file `name` into `model`. Raises ValueError or RuntimeError where they do not fit."""
    odd = sorted(set(tensors) ^ set(_weights(model, name)))
    if odd:
        raise ValueError(f"{odd[0]} stands in one of file and model only")
    model.load_state_dict(tensors, strict=False)


def _load_queue(folder: Path, model: CrossModalModel) -> None:
    with _fitting(folder / "queue.safetensors"):
        model.queue.load(tensor_file.read(folder / "queue.safetensors"))


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Turns what torch says of tensors that do not fit into one line that names the file."""
    try:
        yield
    except (ValueError, KeyError, RuntimeError) as error:
        raise Damaged(f"{path}: does not fit this model ({' '.join(str(error).split())})") from error
