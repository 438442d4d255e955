"""Exported models whose encoders are Hugging Face ones: self-contained, and loaded by plain transformers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, CLIPConfig, CLIPModel, Dinov2Config

from pipelines.export.graph_files import image_graph, text_graph
from pipelines.export.huggingface import HuggingFaceFolder
from pipelines.export.origin import Origin
from pipelines.recipe import Recipe
from tests.pipelines.road import document
from tests.xmodal import clip_tokenizer, tiny
from tests.xmodal.test_encoders_pretrained import DINO, TEXT, VISION, pixels
from tests.xmodal.test_graphs import BIGRU
from xmodal import checkpoint
from xmodal.inference import Inference
from xmodal.model import CrossModalModel
from xmodal.settings import dump_yaml, parse

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "fox", "two", "bears"]
STATE = {"run": "pretrained-0000-0", "step": 7, "dataset": "tiny", "dataset_version": 1, "dataset_digest": "0" * 64}


def saved(folder: Path, kind: str) -> str:
    """A small model with a tokeniser or a preprocessor, as its authors would publish it."""
    configs = {
        "dino": Dinov2Config(**DINO),
        "bert": BertConfig(**TEXT),
        "clip": CLIPConfig(text_config=TEXT | {"vocab_size": 600}, vision_config=VISION, projection_dim=12),
    }
    torch.manual_seed(3)
    AutoModel.from_config(configs[kind]).save_pretrained(folder)
    if kind == "bert":
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    if kind == "clip":
        clip_tokenizer.save(folder)
    if kind == "dino":
        (folder / "preprocessor_config.json").write_text(
            '{"size": 28, "image_mean": [0, 0.5, 1], "image_std": [1, 1, 2]}'
        )
    return str(folder)


def exported(tmp_path: Path, image: dict[str, Any], text: dict[str, Any]) -> tuple[Inference, Inference, Path]:
    """A checkpoint's model, and the same exported and loaded where the encoders' own folders are gone."""
    given = {side: {"kind": "hugging_face", **one} for side, one in (("image", image), ("text", text))}
    base = document("archive", "root", model=tiny.SETTINGS)
    recipe = parse(Recipe, base | {"model": tiny.SETTINGS | given})
    torch.manual_seed(0)
    network = CrossModalModel(recipe.model, tiny.wordpiece(), tiny.ATTRIBUTES)
    for parameter in network.parameters():  # as training would
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    checkpoint.save(
        tmp_path / "checkpoint",
        model=network,
        queue=network.queue.state(),
        optimizer=torch.optim.AdamW(network.parameters()),
        state=STATE | {"taxa": {}, "mlflow_run_id": ""},
        recipe_yaml=dump_yaml(recipe),
        wordpiece=tiny.wordpiece(),
        attributes_json='{"attributes": {"a": [], "b": [], "c": []}}',
        rng=[checkpoint.rng_state()],
    )
    model = Inference.load(tmp_path / "checkpoint")
    HuggingFaceFolder(tmp_path / "checkpoint", model, Origin.of(model), None).write(tmp_path / "out")
    images, texts = pixels(2, 32), ["a red fox", "bears"]
    before = model.image_vectors(images), model.text_vectors(texts)
    for one in (image["path"], text["path"]):
        shutil.rmtree(one, ignore_errors=True)
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    again = Inference.load(tmp_path / "elsewhere")
    assert torch.equal(again.image_vectors(images), before[0]) and torch.equal(again.text_vectors(texts), before[1])
    ours, theirs = model.network.state_dict(), again.network.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    files = [one for one in (tmp_path / "elsewhere").rglob("*") if one.suffix in (".json", ".yaml", ".md")]
    assert not [one for one in files if str(tmp_path) in one.read_text()]
    assert not [one for one in (tmp_path / "elsewhere").rglob("*") if one.suffix in (".bin", ".pt", ".pkl", ".py")]
    return model, again, tmp_path / "elsewhere"


def test_towers_load_in_transformers_and_give_the_same_tokens(tmp_path: Path) -> None:
    """DINOv2 frozen, whose preprocessor states another size, mean and deviation than its configuration; BERT trained,
    with its own words."""
    sources = {"image": saved(tmp_path / "dino", "dino"), "text": saved(tmp_path / "bert", "bert")}
    text = {"path": sources["text"], "frozen": False, "length": 8}
    _, again, home = exported(tmp_path, {"path": sources["image"]}, text)
    encoder = again.network.query.image.encoder
    values = encoder.backbone.module.values(pixels(2, 32))
    assert values.shape == (2, 3, 28, 28)
    model: Any = AutoModel.from_pretrained(home / "image_encoder").eval()
    with torch.no_grad():
        assert torch.equal(model(pixel_values=values).last_hidden_state, encoder.features(pixels(2, 32)))
    ids, mask = again.network.query.text.encoder.tokenize(["a red fox", "two bears"])
    tokens = AutoTokenizer.from_pretrained(home / "text_encoder")(["a red fox", "two bears"], padding=True)
    assert tokens["input_ids"] == ids.tolist()
    model = AutoModel.from_pretrained(home / "text_encoder").eval()
    made = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(made, again.network.query.text.encoder(ids, mask), atol=1e-6, rtol=0)
    readme = (home / "README.md").read_text()
    assert (
        "| `image_encoder` | `Dinov2Model` | frozen |" in readme
        and "| `text_encoder` | `BertModel` | trained |" in readme
    )


def test_a_model_with_both_towers_is_whole_where_its_own_embedding_is_taken(tmp_path: Path) -> None:
    path = saved(tmp_path / "clip", "clip")
    given: Any = AutoModel.from_pretrained(path)
    text = {"path": path, "frozen": False, "pool": "own", "length": 8}
    _, again, home = exported(tmp_path, {"path": path, "pool": "own"}, text)
    images, texts = (CLIPModel.from_pretrained(home / f"{side}_encoder").eval() for side in ("image", "text"))
    encoder = again.network.query.image.encoder
    found: Any = images.get_image_features(pixel_values=encoder.backbone.module.values(pixels(2, 32)))
    assert torch.equal(found.pooler_output, encoder.features(pixels(2, 32))[:, 0])
    ids, mask = again.network.query.text.encoder.tokenize(["a red fox", "fox"])
    found = texts.get_text_features(input_ids=ids, attention_mask=mask.long())
    torch.testing.assert_close(
        found.pooler_output, again.network.query.text.encoder(ids, mask)[:, 0], atol=1e-6, rtol=0
    )
    assert torch.equal(texts.visual_projection.weight, given.visual_projection.weight)
    assert not torch.equal(texts.text_projection.weight, given.text_projection.weight)


BOTH = {"model_type": "siglip", "text_config": TEXT, "vision_config": VISION}
GRAPHS: dict[str, dict[str, Any]] = {
    "packed": {"text": BIGRU, "pooling": {"kind": "gpo"}},
    "siglip": {
        "image": {"kind": "hugging_face", "config": BOTH, "pool": "own"},
        "text": {"kind": "hugging_face", "config": BOTH, "pool": "own", "length": 8},
    },
    "towers": {
        "image": {"kind": "hugging_face", "config": {"model_type": "dinov2", **DINO}, "frozen": False},
        "text": {"kind": "hugging_face", "config": {"model_type": "bert", **TEXT}, "length": 8},
    },
    "lite": {"image": {"kind": "efficientnet_lite", "weights": "none", "grid": 2}},
}
SIDES = {"packed": 16, "siglip": 32, "towers": 56, "lite": 64}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", GRAPHS)
def test_every_kind_of_encoder_is_written_as_a_graph(kind: str, tmp_path: Path) -> None:
    """What writes compares: at two batch sizes, two lengths, beside torch."""
    changes = GRAPHS[kind]
    network = tiny.model(**changes).eval().requires_grad_(False)
    recipe = parse(Recipe, document("archive", "root") | {"model": tiny.SETTINGS | changes})
    settings = recipe.data.pixels.model_copy(update={"size": SIDES[kind]})
    model = Inference(network, {}, tiny.wordpiece(), STATE, settings, torch.device("cpu"), 1)
    origin = Origin(recipe, STATE, "")
    assert image_graph(model).write(tmp_path, origin) < 1e-4 and text_graph(model).write(tmp_path, origin) < 1e-4
