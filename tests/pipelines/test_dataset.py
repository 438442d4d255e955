"""The reader of dataset versions, on a tiny prepared survey."""

import json
import pickle
from functools import partial

import pyarrow as pa
import pytest

from infra.storage import Store, open_store
from pipelines.dataset import Dataset, versions
from pipelines.errors import NotFound
from pipelines.prepare import flow, items
from pipelines.prepare import versions as documents
from pipelines.prepare.parts import LEDGER, PIXELS, RECORDS, with_new_columns
from tests.pipelines.surveys import IMAGE, IN_PROCESS, TEXT, settings, write_survey
from xmodal.encoders.hugging_face import HuggingFaceVision
from xmodal.encoders.hugging_face_text import HuggingFaceText

VISION = HuggingFaceVision(
    kind="hugging_face",
    config={"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "image_size": 32, "patch_size": 16},
)  # fmt: skip
LANGUAGE = HuggingFaceText(
    kind="hugging_face",
    length=16,
    config={"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16},
)  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = open_store(str(tmp_path_factory.mktemp("archive")))
    write_survey(store)
    return store


@pytest.fixture(scope="module")
def dataset(archive: Store, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = open_store(str(tmp_path_factory.mktemp("root")))
    return flow.prepare(settings(archive.url), root, IMAGE, TEXT, workers=IN_PROCESS, lease=2.0)


def test_schemas_are_those_documented(dataset: Dataset) -> None:
    assert dataset.read_group(0, 0, "pixels").schema.equals(PIXELS)
    assert dataset.read_group(0, 0, "records").schema.equals(RECORDS)
    assert dataset.ledger().schema.equals(LEDGER)
    located = dataset.records().schema
    assert located.names == [*RECORDS.names, "item", "row"] and located.field("item").type == pa.int32()


def test_records_say_where_each_row_stands(dataset: Dataset) -> None:
    for row in dataset.records(["sample_id"], split="train").to_pylist():
        group = dataset.read_group(row["item"], row["row"] // 128, "records", ["sample_id", "split"]).to_pylist()
        assert group[row["row"] % 128] == {"sample_id": row["sample_id"], "split": "train"}


def test_a_column_that_an_old_part_lacks_reads_as_null() -> None:
    old = pa.table({"sample_id": ["a"]})
    assert with_new_columns(old, ["licence", "sample_id"], RECORDS).to_pylist() == [{"licence": None, "sample_id": "a"}]


def test_it_pickles_as_its_address(dataset: Dataset) -> None:
    copied = pickle.loads(pickle.dumps(dataset))
    assert copied.document == dataset.document and copied.read_group(0, 0, "records").num_rows


def test_what_is_not_there_is_named_in_one_line(dataset: Dataset) -> None:
    with pytest.raises(NotFound, match="no dataset other here; run xmodal prepare"):
        Dataset.open(dataset.store, "other")
    with pytest.raises(NotFound, match="no version 7; versions there: 1"):
        Dataset.open(dataset.store, "tiny", 7)
    with pytest.raises(NotFound, match="no features of encoder abc"):
        dataset.feature("abc")
    assert versions(dataset.store, "tiny") == [1] and versions(dataset.store, "other") == []


@pytest.mark.parametrize("kind", ["pixels", "records", "ledger", "vocabularies"])
def test_check_finds_damage(dataset: Dataset, kind: str) -> None:
    home = documents.home(dataset.store, dataset.name)
    path = dataset.document[kind][0]["path"]
    whole = home.read(path)
    flipped = whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]
    for data, read_data, told in ((whole[:-1], False, "bytes instead of"), (flipped, True, "damaged")):
        home.put(path, data)
        assert any(path in line and told in line for line in dataset.check(read_data))
    home.delete([path])
    assert dataset.check() == [f"{path}: missing"]
    home.put(path, whole)
    assert dataset.check(read_data=True) == []


def test_check_finds_a_changed_document_and_a_wrong_ledger(dataset: Dataset) -> None:
    changed = json.loads(json.dumps(dataset.document))
    changed["surveys"][0]["files"] += 1
    assert "not what its digest says" in Dataset(dataset.store, "tiny", changed).check()[0]
    changed["digest"] = documents.content_digest(changed)
    assert "listed files" in Dataset(dataset.store, "tiny", changed).check()[0]


def test_features_of_frozen_encoders_are_a_version_of_their_own(dataset: Dataset, archive: Store) -> None:
    data = settings(archive.url)
    derived = flow.prepare(data, dataset.store, VISION, LANGUAGE, workers=IN_PROCESS, lease=2.0)
    assert derived.version == 2 and derived.document["pixels"] == dataset.document["pixels"]
    wordpiece = derived.wordpiece()
    vision, language = VISION.build(), LANGUAGE.build(wordpiece)
    image, text = derived.feature(vision.identity()), derived.feature(language.identity())
    assert image.shape == (5, 16) and text.shape == (16, 16)
    stored = derived.read_group(0, 0, image.encoder, ["sample_id", "features"])
    assert stored["sample_id"].equals(derived.read_group(0, 0, "records")["sample_id"])
    assert stored["features"].type.byte_width == 2 * 5 * 16
    assert derived.check(read_data=True) == []


def test_features_are_what_the_encoder_gives(dataset: Dataset, archive: Store) -> None:
    import numpy as np
    import torch

    from xmodal.transforms import decode_pixels

    derived = flow.prepare(settings(archive.url), dataset.store, VISION, LANGUAGE, workers=IN_PROCESS, lease=2.0)
    vision, language = VISION.build(), LANGUAGE.build(derived.wordpiece())
    pixels = derived.read_group(0, 0, "pixels", ["image"])["image"].to_pylist()[:3]
    expected = vision.features(torch.stack([decode_pixels(one) for one in pixels])).numpy()
    stored = derived.read_group(0, 0, vision.identity())["features"].to_pylist()[:3]
    found = np.stack([np.frombuffer(one, np.float16).reshape(5, 16) for one in stored])
    np.testing.assert_allclose(found, expected, atol=2e-3)
    rows = derived.read_group(0, 0, "records", ["captions"])["captions"].to_pylist()
    texts = derived.read_group(0, 0, language.identity()).to_pylist()
    for captions, row in zip(rows, texts, strict=True):
        written = [one["text"] for one in json.loads(captions)]
        lengths = np.frombuffer(row["lengths"], np.int32)
        assert len(lengths) == len(written) and len(row["features"]) == 2 * 16 * 16 * len(written)
        if written:
            _, mask = language.tokenize(written)
            assert lengths.tolist() == mask.sum(1).tolist()


def test_another_encoder_leaves_what_is_there(dataset: Dataset, archive: Store) -> None:
    """A recipe without frozen encoders finds its dataset in the version that has features: nothing flips to and fro."""
    before = Dataset.open(dataset.store, "tiny")
    after = flow.prepare(settings(archive.url), dataset.store, IMAGE, TEXT, workers=IN_PROCESS, lease=2.0)
    assert after.version == before.version


def test_features_follow_bytes_that_become_another_item(
    dataset: Dataset, archive: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that reads pixels anew gives items new names; where the bytes come out equal, so are their features."""
    prepared = partial(flow.prepare, settings(archive.url), dataset.store, workers=IN_PROCESS, lease=2.0)
    before = prepared(VISION, LANGUAGE)
    monkeypatch.setattr(items, "PIXELS_VERSION", 99)
    after = prepared(VISION, LANGUAGE)
    assert after.version == before.version + 1 and after.check(read_data=True) == []
    names = [{one["item"] for one in of.document["pixels"]} for of in (before, after)]
    paths = [{one["path"] for each in of.document["features"] for one in each["parts"]} for of in (before, after)]
    assert not names[0] & names[1] and paths[0] == paths[1]
    monkeypatch.setattr(items, "PIXELS_VERSION", 100)
    assert prepared(IMAGE, TEXT).check(read_data=True) == []
