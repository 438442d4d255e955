"""What names an encoder's output: 16 hex digits of its settings and, where it has them, its pretrained weights."""

import hashlib
import json
from collections.abc import Mapping

from torch import Tensor, uint8

from xmodal.settings import Settings


def settings_identity(settings: Settings, weights: str = "") -> str:
    """16 hex digits of the settings that differ from their defaults, the schema version and a weights digest.

    Where `weights` says what was loaded, `path` does not count: the same model in another folder is the same.
    """
    left_out = {"path"} if weights else set()
    dumped = settings.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    document = [type(settings).schema_version, dumped, weights]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state dict: names, types, shapes and bytes of its tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()
