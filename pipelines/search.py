"""`xmodal search`: a text to the images of the dataset that the model was trained on."""

from typing import Any

import torch
from torch import Tensor

from pipelines.dataset import Dataset
from pipelines.errors import NotFound
from pipelines.evaluate.pairs import BEHIND
from pipelines.gallery import Embedded, Split, embed, encode
from pipelines.pair_scores import Tokens, pair_scores
from pipelines.places import root_store
from pipelines.prepare.assigned import SPLITS
from pipelines.recipe import Recipe
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from xmodal.inference import Inference
from xmodal.settings import parse


def search(
    text: str, checkpoint: str, root: str | None, split: str | None, count: int, rerank: int | None = None
) -> list[dict[str, Any]]:
    """The `count` best images, best first: rank, score (cosine), survey, media_id, split and the first caption of each.

    With `rerank` the first so many are ranked again by what of the model reads pairs, whose score is then given; of a
    model whose vectors no task has trained all are ranked by that, whatever is asked.
    Raises NotFound where the checkpoint, its dataset version or the split does not exist, SettingsError where nothing
    of the model reads pairs.
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
    scores = torch.cat(found.images) @ model.text_vectors([text])[0]
    if not model.network.trains_vectors:
        rerank = len(rows)
    if rerank is not None:
        scores = ranked_again(model, text, rows, found, scores, max(rerank, count))
    scores, best = torch.topk(scores, min(count, len(rows)))
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


@torch.no_grad()
def ranked_again(model: Inference, text: str, rows: Split, found: Embedded, first: Tensor, most: int) -> Tensor:
    """(N,) scores of the best `most` images by the model's host, else by ITM; all others have BEHIND."""
    network = model.network
    best = torch.topk(first, min(most, len(rows))).indices
    some = Split(rows.dataset, rows.reader, rows.item[best.numpy()], rows.row[best.numpy()])
    images = encode(some, network.placed_tokens, lambda ids, mask: ids.new_zeros(0), model.device)
    ids, mask = network.text_features([text])
    read = Tokens(torch.cat(images.images).to(model.device), network.query.text(ids, mask), mask)
    scored = pair_scores(network, read)(torch.arange(len(best)), torch.tensor([0]))[:, 0]
    places = {record["sample_id"]: n for n, record in enumerate(found.records)}
    whole = torch.full_like(first, BEHIND)
    whole[[places[record["sample_id"]] for record in images.records]] = scored
    return whole
