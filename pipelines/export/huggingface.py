"""`--as huggingface`: one folder with the model, its tokeniser and its card, by the names that Hugging Face knows.

It is a checkpoint too, of the files that use needs and none of training, so every verb that asks a model takes it. Own
encoders have no class in transformers, and no code is shipped: `model.safetensors` is read by xmodal. Encoders that are
Hugging Face models lie in folders of their own, for which nothing else is needed.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from infra.storage import NotFound as MissingObject
from infra.storage import open_store
from pipelines.card import README, TRAINED_ON
from pipelines.errors import NotFound
from pipelines.export.origin import Origin
from pipelines.export.preprocessing import write_tokenizer, write_whole
from pipelines.export.pretrained import Pretrained, Saved, pretrained
from pipelines.export.whole_folder import whole
from pipelines.predictions.trust import TRUST, parsed
from xmodal import checkpoint
from xmodal.inference import USED, Inference
from xmodal.settings import SettingsError, differences, yaml_text

KEPT = ("name", "description", "data", "model", "train")
"""Parts of the recipe that go out: others hold addresses."""
OF_DATA = ("name", "surveys", "pixels", "captions", "crops", "generated", "version")
WITHHELD = "withheld"
"""What stands in place of an archive's address."""


@dataclass(frozen=True)
class HuggingFaceFolder:
    """The checkpoint in `directory` as a Hugging Face folder; `card` is the folder of its card, if there is one."""

    directory: Path
    model: Inference
    origin: Origin
    card: dict[str, bytes] | None

    kind = "huggingface"

    def write(self, folder: Path) -> None:
        """Whole or not at all. Raises Damaged, SettingsError, OSError."""
        with whole(folder, {"kind": self.kind, **self.origin.document}) as home:
            encoders = list(pretrained(self.model.network))
            recipe = published(self.origin, encoders)
            checkpoint.copy_part(self.directory, home, USED, yaml_text(recipe))
            saved = [one.save(home, self.model) for one in encoders]
            write_tokenizer(home, self.model)
            if self.model.reads_pixels:
                write_whole(home, self.model.pixels)
            (home / "config.json").write_text(json.dumps(self._config(recipe, saved), indent=1), encoding="utf-8")
            for name, data in {**(self.card or {}), README: self._readme(saved).encode()}.items():
                (home / name).write_bytes(data)

    def _config(self, recipe: dict[str, Any], saved: list[Saved]) -> dict[str, Any]:
        encoders = {one.folder: {"class": one.loaded_by, "frozen": one.frozen} for one in saved}
        return {"architectures": ["CrossModalModel"], "library_name": "xmodal", **self.origin.document,
                "embed_dim": self.model.network.settings.embed_dim, "model_settings": recipe["model"],
                "encoders": encoders}  # fmt: skip

    def _readme(self, saved: list[Saved]) -> str:
        environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
        template = environment.from_string((files("pipelines.export") / "readme.md.j2").read_text(encoding="utf-8"))
        card = None if self.card is None else self.card[README].decode().rstrip()
        settings = self.model.network.settings
        return template.render(
            card=card, origin=self.origin, saved=saved, settings=settings, pixels=self.model.reads_pixels
        )


def published(origin: Origin, encoders: list[Pretrained]) -> dict[str, Any]:
    """The recipe that goes out: without addresses, and with encoders that lie in the folder itself."""
    document = {name: part for name, part in differences(origin.recipe).items() if name in KEPT}
    data = {name: value for name, value in document["data"].items() if name in OF_DATA}
    data["surveys"] = [{"name": one["name"], "archive": WITHHELD, "source": one["source"]} for one in data["surveys"]]
    for one in encoders:
        if one.kept:
            settings = document["model"]
            for step in one.place:
                settings = settings[step]
            settings["path"] = f"./{one.folder}"
    train = {name: value for name, value in document.get("train", {}).items() if name != "init_from"}
    return document | {"data": data, "train": train}


def read_card(where: str | None, model: Inference) -> dict[str, bytes] | None:
    """The files of the card in the folder or URL `where`; None without one. Raises NotFound where none is there,
    SettingsError where it is of another model."""
    if where is None:
        return None
    store, found = open_store(where), dict[str, bytes]()
    for name in (README, TRAINED_ON, TRUST):
        try:
            found[name] = store.read(name)
        except MissingObject:
            continue
    if README not in found:
        raise NotFound(f"--card {where}: no {README} there; `xmodal evaluate --card` writes one")
    if TRUST in found and (of := parsed(f"{where}/{TRUST}", found[TRUST])).weights != model.weights:
        raise SettingsError(f"--card {where}: of another checkpoint ({of.run}, step {of.step}); evaluate this one")
    return found
