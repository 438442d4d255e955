"""How the champion does on what is new, before anything is trained on it, and whether that and what has arrived are
worth a training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.evaluate.against import named
from pipelines.gallery import Split, encode
from pipelines.recipe import Recipe
from pipelines.retrain.changes import Changes
from pipelines.retrain.settings import RetrainSettings
from pipelines.taxa import species_keys
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from xmodal.inference import Inference
from xmodal.metrics.intervals import mean, sum_interval
from xmodal.settings import load


@dataclass(frozen=True)
class Tried:
    """A model on some images: n, and the share it names rightly (0..1; None of none)."""

    n: int
    right: float | None


@dataclass(frozen=True)
class Look:
    """What has arrived, and what the champion makes of it."""

    counted: dict[str, Any]
    """See `Changes.counted`."""
    new: Tried
    """Newly labelled images, in whatever split."""
    old: Tried
    """Test images of before."""
    fall: float | None
    """How far `new` lies below `old`; None where one of them has no images."""
    sure_fall: float | None
    """The lower end of its 95 % interval, places resampled; None where there is one place."""
    look_at: int
    """How many images of either kind were asked for, at most."""


def look(store: Store, champion: str, dataset: Dataset, found: Changes, look_at: int) -> Look:
    """Tries the run `champion` on the rows that are new to it, and on its old test rows. Raises NotFound, Damaged."""
    with opened(store, champion) as directory:
        model = Inference.load(directory)
    labelled = found.labelled
    fresh = pc.field("sample_id").isin(labelled["sample_id"].combine_chunks())
    old = found.rows.filter(~fresh & (pc.field("split") == "test"))
    answers = [_tried(model, dataset, some, look_at) for some in (labelled, old)]
    (new_right, new_place), (old_right, old_place) = answers
    new, before = (Tried(len(right), mean(right) if len(right) else None) for right, _ in answers)
    fall, sure = None, None
    if len(new_right) and len(old_right):
        fall = float(mean(old_right) - mean(new_right))
        interval = sum_interval([(old_right, old_place), (-new_right, new_place)])
        sure = None if interval is None else interval.low
    return Look(found.counted, new, before, fall, sure, look_at)


def worth(counted: dict[str, Any], sure_fall: float | None, settings: RetrainSettings) -> tuple[bool, str]:
    """Whether to train, and why."""
    labelled, least = counted["labelled_train"], settings.least_labelled
    if labelled >= least:
        return True, f"{labelled:,} newly labelled training images, at least {least:,} are asked for"
    few = f"{labelled:,} newly labelled training images, {least:,} are asked for"
    if labelled and sure_fall is not None and sure_fall >= settings.most_fall:
        fell = f"{100 * sure_fall:.1f} points"
        return True, f"{few}; but the champion falls by at least {fell} on what is new (retrain.most_fall)"
    return False, few


def _tried(model: Inference, dataset: Dataset, rows: pa.Table, most: int) -> tuple[np.ndarray, list[str]]:
    """(n,) whether the model names each image rightly, and its place; of rows that name a species and have a text, at
    most `most`, evenly spread. An image without a place is a place of its own."""
    species = species_keys(rows["facts"].to_pylist())
    told = [texts != b"[]" for texts in rows["captions"].to_pylist()]
    kept = [n for n, key in enumerate(species) if key and told[n]]
    kept = [kept[n] for n in np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)]
    if not kept:
        return np.zeros(0), []
    some = rows.take(kept)
    reader = sample_reader(load(Recipe, (), below=model.recipe), dataset, model.wordpiece)
    split = Split(dataset, reader, some["item"].to_numpy(), some["row"].to_numpy())
    network = model.network
    images = torch.cat(encode(split, network.encode_image, network.encode_text, model.device).images)
    places = [place or one for place, one in zip(some["place"].to_pylist(), some["sample_id"].to_pylist(), strict=True)]
    return named(model, images, [species[n] or "" for n in kept])[0], places


def looked(document: dict[str, Any], champion: str) -> str:
    """What was found, in words."""
    counted = document["counted"]
    labelled = f"{counted['labelled']:,} newly labelled ({counted['corrected']:,} of them corrected)"
    found = f"{counted['new_media']:,} new media, {labelled}"
    new = [f"surveys {', '.join(counted['surveys'])}"] if counted["surveys"] else []
    new += [f"{counted['places']:,} places"] if counted["places"] else []
    new += [f"species {', '.join(counted['species'])}"] if counted["species"] else []
    lines = [f"retrain: {found}{'; new: ' if new else ''}{'; '.join(new)}"]
    for name, where in (("new", "newly labelled images"), ("old", "its old test images")):
        tried = document[name]
        if tried["n"]:
            lines.append(f"retrain: {champion} names {100 * tried['right']:.1f} % of {tried['n']:,} {where} rightly")
    return "\n".join([*lines, f"retrain: {'to train' if document['train'] else 'nothing to train'}: {document['why']}"])
