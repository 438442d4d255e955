"""The feature sets of a version: one for each frozen encoder of the recipe, and those of the parent that still fit."""

import json
from typing import Any

from pipelines.prepare.features import FeatureTask, TextFeatures, image_features, receipt_key
from pipelines.prepare.run import Run
from xmodal.encoders import ImageEncoderSettings, TextEncoderSettings
from xmodal.wordpiece import WordPiece

Entry = dict[str, Any]


def derive(
    run: Run,
    pixels: list[Entry],
    records: list[Entry],
    wordpiece: str,
    image: ImageEncoderSettings,
    text: TextEncoderSettings,
) -> list[Entry]:
    """[{"encoder", "kind", "shape", "parts"}], sorted by encoder. What the parent holds of the same parts is kept."""
    sources = {"image": pixels, "text": records}
    sets = {
        old["encoder"]: old | {"parts": _named_like(sources[old["kind"]], old["parts"])}
        for old in run.inherited("features")
        if _fits(old, sources[old["kind"]])
    }
    if image.frozen:
        encoder = image.build().identity()
        sets[encoder] = _compute(run, "image", encoder, pixels, image_features(image), (image,))
    if text.frozen:
        vocabulary = WordPiece.from_json(wordpiece)
        encoder = text.build(vocabulary).identity()
        sets[encoder] = _compute(run, "text", encoder, records, TextFeatures, (text, vocabulary))
    return [sets[encoder] for encoder in sorted(sets)]


def _fits(old: Entry, parts: list[Entry]) -> bool:
    """Whether a set of the parent is complete for `parts`."""
    return {part["source"] for part in old["parts"]} == {part["sha256"] for part in parts}


def _named_like(parts: list[Entry], derived: list[Entry]) -> list[Entry]:
    """`derived` entries of those of `parts` that have one, under the survey and item that the part has now: the same
    bytes may have been another item in the parent."""
    held = {one["source"]: one for one in derived}
    found = [
        held[part["sha256"]] | {"survey": part["survey"], "item": part["item"]}
        for part in parts
        if part["sha256"] in held
    ]
    return sorted(found, key=lambda one: (one["survey"], one["item"]))


def _compute(run: Run, kind: str, encoder: str, parts: list[Entry], make: Any, arguments: tuple[Any, ...]) -> Entry:
    old = [part for one in run.inherited("features") if one["encoder"] == encoder for part in one["parts"]]
    found = _named_like(parts, old)
    held = {one["source"] for one in found}
    receipts = run.work.child("features")
    archives = {listing.name: listing.settings.store() for listing in run.listings}
    tasks = {
        receipt_key(encoder, part["item"], part): FeatureTask(
            encoder, part["survey"], part["item"], run.home, receipts, part, archives[part["survey"]]
        )
        for part in parts
        if part["sha256"] not in held
    }
    total = sum(task.part["rows"] for task in tasks.values())
    with run.progress(f"features {kind}", total=total, unit="images") as progress:
        done = 0
        for receipt in run.perform("features", make, arguments, tasks):
            found.append(json.loads(receipt))
            done += found[-1]["rows"]
            progress.update(done)
    found.sort(key=lambda part: (part["survey"], part["item"]))
    return {"encoder": encoder, "kind": kind, "shape": found[0]["shape"], "parts": found}
