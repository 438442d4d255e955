"""`xmodal export`: folders that load elsewhere and give the same numbers, whole or not at all."""

import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.card import trained_on
from pipelines.dataset import Dataset
from pipelines.errors import Failed
from pipelines.export.graph_files import image_graph
from pipelines.export.whole_folder import whole
from pipelines.gallery import Split, embed
from pipelines.recipe import Recipe
from pipelines.train.plan import sample_reader
from pipelines.train.runs import opened
from tests.conftest import REPOSITORY
from tests.pipelines.road import prepared, several_items, untrained_run, xmodal
from xmodal.inference import Inference

TEXTS = ["a red fox", "Two BEARS, naïve café!", "[SEP] a fox [MASK]", "", " ".join(["a deer by night"] * 20), "日本"]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "docs/export.md").read_text(), re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Exported:
    """An untrained run with a card, all that it is exported as below `out`, and an image."""

    folder: Path
    recipe: Recipe
    run: str
    model: Inference

    @property
    def out(self) -> Path:
        return self.folder / "north-ridge"

    def export(self, *words: str | Path) -> Any:
        return xmodal("export", self.run, "--root", self.folder / "root", *words)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("export")
    with several_items():
        recipe = prepared(str(folder / "root"))
    run = untrained_run(recipe).name
    dataset = Dataset.open(recipe.compute.store(), "tiny")
    (folder / "card").mkdir()
    (folder / "card/README.md").write_text("---\nlibrary_name: xmodal\n---\n\n# A card\n")
    (folder / "card/trained_on.parquet").write_bytes(trained_on(dataset).to_bytes())
    with opened(recipe.compute.store(), run) as directory:
        model = Inference.load(directory)
    made = Exported(folder, recipe, run, model)
    image = next(path for path in (folder / "root/archive").rglob("*.JPG") if path.stat().st_size > 5000)
    shutil.copy(image, folder / "image.jpg")
    ended = made.export("--to", made.out, "--as", "huggingface", "--as", "onnx", "--as", "embeddings", "--card",
                        folder / "card")  # fmt: skip
    assert ended.code == 0, ended.err
    assert f"{made.out / 'onnx/text.onnx'}  " in ended.out and "image.onnx: within " in ended.err
    return made


def test_the_folder_loads_bit_equal_and_holds_no_pickle_and_no_address(exported: Exported) -> None:
    home = exported.out / "huggingface"
    again, image = Inference.load(home), (exported.folder / "image.jpg").read_bytes()
    ours, theirs = exported.model.network.state_dict(), again.network.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(exported.model.text_vectors(TEXTS), again.text_vectors(TEXTS))
    pixels = again.pixels_of([image])
    assert torch.equal(exported.model.image_vectors(pixels), again.image_vectors(pixels))
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".yaml", ".md", ".parquet"}
    texts = "\n".join(path.read_text() for path in files if path.suffix in (".json", ".yaml", ".md"))
    assert str(exported.folder) not in texts and "withheld" in (home / "recipe.yaml").read_text()
    assert xmodal("check", home).code == 0
    embedded = xmodal("predict", "embed", home, exported.folder / "image.jpg")
    assert embedded.code == 0 and len(json.loads(embedded.out)["embedding"]) == 16
    found = xmodal("search", "a fox", "--checkpoint", home, "--root", exported.folder / "root", "-k", "1")
    assert found.code == 0 and found.out.strip(), found.err


def test_the_card_comes_with_it_and_says_how_to_load(exported: Exported) -> None:
    home, card = exported.out / "huggingface", exported.folder / "card"
    readme = (home / "README.md").read_text()
    assert readme.startswith((card / "README.md").read_text().rstrip()) and "## How to load it" in readme
    assert (home / "trained_on.parquet").read_bytes() == (card / "trained_on.parquet").read_bytes()
    assert "xmodal's own" in readme and '"architectures": [\n  "CrossModalModel"' in (home / "config.json").read_text()
    asked = xmodal("seen", exported.folder / "image.jpg", "--card", home)
    assert asked.code == 0 and asked.out.strip(), asked.err


def test_transformers_and_tokenizers_give_the_same_ids(exported: Exported) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoImageProcessor, AutoTokenizer

    ids, mask = exported.model.network.query.text.encoder.tokenize(TEXTS)
    made = AutoTokenizer.from_pretrained(exported.out / "huggingface")(
        TEXTS, padding=True, truncation=True, return_tensors="pt"
    )
    assert torch.equal(made["input_ids"], ids) and torch.equal(made["attention_mask"].bool(), mask)
    bare = Tokenizer.from_file(str(exported.out / "onnx/tokenizer.json")).encode_batch(TEXTS)
    assert [one.ids for one in bare] == ids.tolist()
    processor = AutoImageProcessor.from_pretrained(exported.out / "huggingface")
    from PIL import Image

    pixels = processor(images=Image.open(exported.folder / "image.jpg"), return_tensors="pt")["pixel_values"]
    prepared_ones = exported.model.pixels_of([(exported.folder / "image.jpg").read_bytes()])
    assert pixels.dtype == torch.uint8 and pixels.shape == prepared_ones.shape
    assert (pixels.float() - prepared_ones.float()).abs().mean() < 8


def test_graphs_give_torchs_vectors_at_any_batch_and_say_what_made_them(exported: Exported) -> None:
    import onnxruntime

    home, network = exported.out / "onnx", exported.model.network
    text: Any = onnxruntime.InferenceSession(home / "text.onnx")
    image: Any = onnxruntime.InferenceSession(home / "image.onnx")
    for texts in (TEXTS, TEXTS[:1], TEXTS * 3):
        ids, mask = network.query.text.encoder.tokenize(texts)
        (found,) = text.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
        np.testing.assert_allclose(found, exported.model.text_vectors(texts).numpy(), atol=1e-4)
    for count in (1, 7):
        pixels = exported.model.pixels_of([(exported.folder / "image.jpg").read_bytes()] * count)
        (found,) = image.run(None, {"pixels": pixels.numpy()})
        np.testing.assert_allclose(found, exported.model.image_vectors(pixels).numpy(), atol=1e-4)
    told = json.loads(image.get_modelmeta().custom_metadata_map["xmodal"])
    assert told["run"] == exported.run and told["taken"] == [32, 32] and told["prepared"]["resize"] == "squash"
    assert told["weights"] == exported.model.weights and told["trained_on"] == "tiny@1"


def test_what_the_page_shows_runs_as_pasted(
    exported: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported.folder)
    for block in BLOCKS:
        exec(compile(block, "docs/export.md", "exec"), {})
        assert capsys.readouterr().out.strip()
    assert len(BLOCKS) == 4


def test_embeddings_are_those_of_the_dataset_and_go_on_where_they_were_cut(exported: Exported) -> None:
    home, model = exported.out / "embeddings", exported.model
    dataset_rows = check_embeddings(home, exported)
    parts = sorted(home.glob("*.parquet"))
    assert len(parts) >= 4 and dataset_rows == sum(pq.read_metadata(one).num_rows for one in home.glob("images-*"))
    told = json.loads(pq.read_schema(parts[0]).metadata[b"xmodal"])
    assert told["model"] == f"{exported.run}@0" and told["of"]["name"] == "tiny" and told["weights"] == model.weights
    cut = home.with_name(".embeddings.unfinished")
    os.rename(home, cut)
    last = sorted(cut.glob("captions-*"))[-1]
    last.unlink()
    before = {one.name: one.stat().st_mtime_ns for one in cut.glob("*.parquet")}
    assert exported.export("--to", exported.out, "--as", "embeddings").code == 0
    after = {one.name: one.stat().st_mtime_ns for one in home.glob("*.parquet")}
    made = {last.name, last.name.replace("captions", "images")}
    assert {name for name in after if after[name] != before.get(name)} == made and not cut.exists()
    check_embeddings(home, exported)
    ended = exported.export("--to", exported.out, "--as", "embeddings", "--dataset", "tiny@1")
    assert "is there already" in ended.err
    assert {one.name: one.stat().st_mtime_ns for one in home.glob("*.parquet")} == after


def check_embeddings(home: Path, exported: Exported) -> int:
    """Every image and caption once, with the vectors of the gallery; returns the number of images."""
    dataset = Dataset.open(exported.recipe.compute.store(), "tiny")
    records = dataset.records(["sample_id", "media_id", "split", "captions"]).sort_by(
        [("item", "ascending"), ("row", "ascending")]
    )
    images, captions = (pq.read_table(sorted(home.glob(f"{kind}-*.parquet"))) for kind in ("images", "captions"))
    for name in ("sample_id", "media_id", "split"):
        assert images[name].to_pylist() == records[name].to_pylist()
    said = [(row["sample_id"], one["text"]) for row in records.to_pylist() for one in json.loads(row["captions"])]
    assert list(zip(captions["sample_id"].to_pylist(), captions["text"].to_pylist(), strict=True)) == said
    rows = Split(
        dataset, sample_reader(exported.recipe, dataset), *(records[name].to_numpy() for name in ("item", "row"))
    )
    found = embed(exported.model.network, rows, "cpu")
    for table, vectors in ((images, found.images), (captions, found.texts)):
        assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[16]"
        made = np.stack(table["vector"].to_numpy())
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, torch.cat(vectors).numpy(), atol=1e-6)
    return len(records)


def test_a_graph_that_gives_other_vectors_is_not_kept(exported: Exported, tmp_path: Path) -> None:
    graph = image_graph(exported.model)
    assert graph.compare(exported.out / "onnx/image.onnx") < 1e-5
    wrong = replace(graph, plain=lambda pixels: graph.plain(pixels) + 2e-4)
    said = r"image encoder gives other vectors .* by up to 0\.0002; allowed: 0\.0001"
    with pytest.raises(Failed, match=said), whole(tmp_path / "onnx", {}) as home:
        wrong.compare(Path(shutil.copy(exported.out / "onnx/image.onnx", home)))
    assert not list(tmp_path.iterdir())


def test_what_is_refused_is_one_line_and_leaves_everything(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface/mine.txt").write_text("mine")
    ended = exported.export("--to", tmp_path)
    assert ended.code == 2 and f"{tmp_path}/huggingface is there and no export of ours" in ended.line
    assert [path.name for path in tmp_path.rglob("*")] == ["huggingface", "mine.txt"]
    for words, code, said in [
        (["--to", "s3://bucket/models"], 2, "a folder of this machine"),
        (
            ["--to", tmp_path / "b", "--as", "embeddings", "--dataset", "tiny@new"],
            2,
            "a version is a number, as tiny@3",
        ),
        (["--to", tmp_path / "b", "--as", "embeddings", "--dataset", "huge"], 10, "no dataset huge here"),
        (["--to", tmp_path / "b", "--card", tmp_path], 10, "no README.md there"),
    ]:
        ended = exported.export(*words)
        assert ended.code == code and said in ended.line
    assert xmodal("export", exported.run, "--to", tmp_path, "--dataset", "tiny").code == 2
    ended = xmodal("export", "untraind-0000-0", "--root", exported.folder / "root", "--to", tmp_path / "b")
    assert ended.code == 10 and f"did you mean {exported.run}?" in ended.line
    assert not (tmp_path / "b/embeddings").exists() and not (tmp_path / "b/huggingface").exists()
    again = exported.export("--to", exported.out)  # in place of the one before, which had a card
    assert again.code == 0 and "trained_on.parquet" not in again.out
    assert "none was given" in (exported.out / "huggingface/README.md").read_text()
