"""`xmodal search`: a text to the images of the dataset that the model was trained on."""

from typing import Any

import torch

from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.gallery import Split, embed
from pipelines.places import root_store
from pipelines.prepare.assigned import SPLITS
from pipelines.recipe import Recipe
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from xmodal.inference import Inference
from xmodal.settings import parse


def search(text: str, checkpoint: str, root: str | None, split: str | None, count: int) -> list[dict[str, Any]]:
    """The `count` best images, best first: rank, score (cosine), survey, media_id, split and the first caption of each.

    Raises NotFound where the checkpoint, its dataset version or the split does not exist.
    """
    if split is not None and split not in SPLITS:
        raise NotFound(f"{split}: no such split; allowed: {', '.join(SPLITS)}")
    store = root_store(root)
    with opened(store, checkpoint) as directory:
        model = Inference.load(directory)
    dataset = Dataset.open(store, model.state["dataset"], model.state["dataset_version"])
    reader = sample_reader(parse(Recipe, model.recipe), dataset)
    rows = Split.of(dataset, reader, SPLITS if split is None else (split,))
    if len(rows) == 0:
        raise NotFound(f"dataset {dataset.name}: no image in the {split} split")
    found = embed(model.network, rows, model.device)
    scores, best = torch.topk(torch.cat(found.images) @ model.text_vectors([text])[0], min(count, len(rows)))
    media = dataset.records(["media_id", "split"])
    known = {
        (item, row): n
        for n, (item, row) in enumerate(zip(media["item"].to_pylist(), media["row"].to_pylist(), strict=True))
    }
    lines = []
    for rank, (n, score) in enumerate(zip(best.tolist(), scores.tolist(), strict=True), start=1):
        where = known[int(rows.item[n]), int(rows.row[n])]
        line = {
            "rank": rank,
            "score": score,
            "survey": found.records[n]["survey"],
            "text": found.captions[n][0]["text"],
        }
        lines.append(line | {name: media[name][where].as_py() for name in ("media_id", "split")})
    return lines
