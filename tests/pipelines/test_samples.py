"""Samples and batches: what is drawn for (seed, epoch, sample), how it travels, and that world sizes only share it."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.dataset import Dataset
from pipelines.prepare.language import language
from pipelines.recipe import Recipe
from pipelines.train.caption_words import CaptionWords
from pipelines.train.known_texts import KnownTexts
from pipelines.train.lanes import LARGEST_BLOCK, MANY_ITEMS, ReadLane, batches
from pipelines.train.order import LaneOrder
from pipelines.train.plan import TrainingPlan, sample_reader
from pipelines.train.samples import (
    FeatureImages,
    FeatureTexts,
    PixelImages,
    SampleReader,
    TokenTexts,
    caption_choice,
    caption_identifier,
    identifier,
    padded_codes,
    sequence_identifier,
)
from tests.pipelines.road import prepared
from xmodal.batch import Batch
from xmodal.encoders.transformer import Transformer
from xmodal.settings import SettingsError, parse
from xmodal.transforms import AugmentSettings, decode_pixels
from xmodal.wordpiece import WordPiece
from xmodal.words import WordTable, name_words


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    recipe = prepared(str(tmp_path_factory.mktemp("samples")), train={"lanes": 2, "global_batch": 14})
    return TrainingPlan.of(recipe, Dataset.open(recipe.compute.store(), "tiny"))


@pytest.fixture(scope="module")
def lane(plan: TrainingPlan) -> ReadLane:
    return ReadLane(plan.lanes())


def epoch_of(plan: TrainingPlan, lane: ReadLane, rank: int, size: int, chunk: int = 1) -> list[Batch]:
    """One worker's batches of the first epoch, blocks dealt round robin as Ray Data deals them."""
    blocks = [lane.block(item) for item in plan.order.plan(1, chunk, 0)]
    assert len(blocks) > plan.order.lanes or chunk > 1
    return list(batches(iter(blocks[rank::size]), plan.order, plan.reader, rank, size))


def row(batch: Batch, at: int) -> dict[str, list]:
    """What row `at` is, without what trimming leaves behind it."""
    text = batch.text[at][batch.text_mask[at]]
    caption = batch.caption[at][batch.caption[at] != 0]
    rest = ("image", "sample_id", "caption_id", "sequence_id", "image_codes", "text_codes", "valid")
    return {name: getattr(batch, name)[at].tolist() for name in rest} | {
        "text": text.tolist(),
        "caption": caption.tolist(),
    }


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(0, 99), st.text(max_size=8), st.integers(0, 5))
def test_every_caption_comes_once_in_as_many_epochs(count: int, seed: int, sample: str, cycle: int) -> None:
    epochs = range(cycle * count, (cycle + 1) * count)
    assert sorted(caption_choice(count, seed, epoch, sample) for epoch in epochs) == list(range(count))


def test_the_choice_of_captions_is_keyed_by_seed_and_sample() -> None:
    drawn = {
        key: tuple(caption_choice(5, key[0], epoch, key[1]) for epoch in range(20))
        for key in [(0, "a"), (1, "a"), (0, "b")]
    }
    assert len(set(drawn.values())) == 3 and drawn[0, "a"][:5] != drawn[0, "a"][5:10]
    assert drawn[0, "a"] == tuple(caption_choice(5, 0, epoch, "a") for epoch in range(20))


def test_identifiers_are_63_bits_and_texts_that_say_the_same_are_one() -> None:
    assert all(0 <= identifier(text) < 2**63 for text in ("", "a", "ä" * 300))
    assert caption_identifier("A  red\tfox ") == caption_identifier("a red fox") != caption_identifier("a red box")
    assert sequence_identifier("s", None) == -1 and sequence_identifier("s", "") == -1
    assert sequence_identifier("a", "1") != sequence_identifier("b", "1")


def test_codes_of_an_older_vocabulary_are_unspecified_behind_their_end() -> None:
    assert padded_codes([2, -1], 4).tolist() == [2, -1, -1, -1]
    assert padded_codes(None, 2).tolist() == [-1, -1] and padded_codes([], 0).tolist() == []


def test_a_sample_is_the_stored_row(plan: TrainingPlan) -> None:
    """Ids and codes are those of the record, every caption is reached, and an epoch's draw is repeatable."""
    dataset, reader = plan.open(), plan.reader
    records = dataset.read_group(0, 0, "records").to_pylist()
    group = reader.read_group(dataset, 0, 0)
    at = next(n for n, record in enumerate(records) if len(json.loads(record["captions"])) > 1)
    captions = json.loads(records[at]["captions"])
    seen = {reader.sample(group, at, epoch).caption_id for epoch in range(len(captions))}
    assert seen == {caption_identifier(one["text"]) for one in captions}
    sample = reader.sample(group, at, 0)
    assert sample.sample_id == identifier(records[at]["sample_id"])
    assert sample.image_codes == records[at]["codes"], "the dataset's own vocabulary"
    assert sample == reader.sample(group, at, 0) and sample.image != reader.sample(group, at, 1).image


def test_a_resumed_reader_goes_on_with_the_texts_it_would_have_read(tmp_path: Path) -> None:
    """Of all languages, in an order that (seed, epoch, sample) decide: a new reader needs no memory of the old."""
    recipe = prepared(str(tmp_path), data={"captions": {"languages": ["eng", "spa"]}}, train={"global_batch": 14})
    plan = TrainingPlan.of(recipe, Dataset.open(recipe.compute.store(), "tiny"))
    dataset = plan.open()
    captions = [json.loads(one["captions"]) for one in dataset.read_group(0, 0, "records").to_pylist()]
    at = max(range(len(captions)), key=lambda row: len(captions[row]))
    assert {one["language"] for one in captions[at]} == {"eng", "spa"} and len(captions[at]) >= 6
    epochs = range(2 * len(captions[at]))
    group = plan.reader.read_group(dataset, 0, 0)
    whole = [plan.reader.sample(group, at, epoch)._replace(image=b"") for epoch in epochs]
    again = pickle.loads(pickle.dumps(plan.reader))
    resumed = again.read_group(plan.open(), 0, 0)
    assert [again.sample(resumed, at, epoch)._replace(image=b"") for epoch in reversed(epochs)] == whole[::-1]
    half = len(captions[at])
    ids = {caption_identifier(one["text"]) for one in captions[at]}
    assert {one.caption_id for one in whole[:half]} == {one.caption_id for one in whole[half:]} == ids


def test_an_image_that_nothing_may_change_is_the_stored_one(plan: TrainingPlan) -> None:
    stored = plan.open().read_group(0, 0, "pixels", ["image"])["image"][0].as_py()
    still = AugmentSettings(min_scale=1, max_aspect=1, flip=0, brightness=0, contrast=0)
    images = PixelImages(32, still, seed=0)
    assert images.image(stored, "sample", 3) == decode_pixels(stored).numpy().tobytes()
    assert images.decode(stored).tobytes() == decode_pixels(stored).numpy().tobytes()


def test_texts_are_trimmed_to_the_longest_and_masked(plan: TrainingPlan, lane: ReadLane) -> None:
    for batch in epoch_of(plan, lane, 0, 1):
        lengths = batch.text_mask.sum(1)
        assert batch.text.shape[1] == int(lengths.max()) and batch.text.shape == batch.text_mask.shape
        assert (batch.text_mask == (torch.arange(batch.text.shape[1]) < lengths[:, None])).all()
        assert (batch.text[~batch.text_mask] == 0).all() and (batch.text[batch.text_mask] != 0).all()
        assert batch.caption.shape[1] == int((batch.caption != 0).sum(1).max())
        assert (batch.caption[:, 0] == 2).all(), "[CLS]"


def test_words_change_as_seed_epoch_and_sample_say_and_captions_stay(tmp_path: Path) -> None:
    """A reader made anew draws the same: what a resumed run reads is what the undisturbed one would have read."""
    changes = {"global_batch": 14, "words": {"share": 0.6}}
    recipe = prepared(str(tmp_path), train=changes)
    dataset = Dataset.open(recipe.compute.store(), "tiny")
    plain = sample_reader(parse(Recipe, recipe.model_dump() | {"train": {"global_batch": 16}}), dataset)
    reader, again = (TrainingPlan.of(recipe, dataset).reader for _ in range(2))
    again = pickle.loads(pickle.dumps(again))
    group = reader.read_group(dataset, 0, 0)
    rows = [(row, epoch) for row, captions in enumerate(group.captions) if captions for epoch in (0, 1)]
    texts = [[one.sample(group, *at) for at in rows] for one in (reader, again, plain)]
    assert texts[0] == texts[1]
    assert [one.caption for one in texts[0]] == [one.caption for one in texts[2]], "what the captioner is to write"
    assert any(one.text_length < other.text_length for one, other in zip(texts[0], texts[2], strict=True)), "deleted"
    assert [one.caption_id for one in texts[0]] == [one.caption_id for one in texts[2]]
    assert all(len(one.text) == 8 * reader.texts.shape[0] for one in texts[0])


def test_words_of_a_frozen_text_encoder_cannot_change(tmp_path: Path) -> None:
    bert = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    text = {"kind": "hugging_face", "config": bert | {"intermediate_size": 8}, "frozen": True, "pool": "mean"}
    recipe = prepared(str(tmp_path), model={"text": text}, train={"global_batch": 14, "words": {}})
    with pytest.raises(SettingsError, match=r"train\.words: the text encoder is frozen"):
        sample_reader(recipe, Dataset.open(recipe.compute.store(), "tiny"))


def test_blocks_keep_samples_bit_by_bit(plan: TrainingPlan, lane: ReadLane) -> None:
    """Through Arrow's wire format and in slices that start anywhere, as Ray Data hands blocks over."""
    item = next(plan.order.plan(1, 3, 0))
    block = lane.block(item)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as stream:
        stream.write_table(block.slice(3, 5), max_chunksize=2)
    back = pa.ipc.open_stream(sink.getvalue()).read_all()
    whole, part = plan.reader.batch(block, 0), plan.reader.batch(back, 0)
    assert [row(part, at) for at in range(5)] == [row(whole, at + 3) for at in range(5)]
    assert {str(block.schema.field(name).type) for name in ("sample_id", "step", "slot")} == {"int64"}
    assert pa.types.is_fixed_size_binary(block.schema.field("image").type)


def test_cached_features_travel_like_pixels_and_tokens() -> None:
    generator = np.random.default_rng(0)
    images = FeatureImages("enc", (3, 4))
    rows = generator.normal(size=(2, 3, 4)).astype(np.float16)
    assert (images.decode(images.image(rows[0].tobytes(), "s", 1)) == rows[0]).all()
    texts = FeatureTexts("enc", (5, 4))
    assert images.tensor(rows).dtype == texts.tensor(rows).dtype == torch.float32
    reader = SampleReader(images, texts, "", 4, 0, 0)
    assert reader.row_bytes == (3 * 4 + 5 * 4) * 2


def test_texts_stay_as_they_are_unless_a_recipe_varies_their_words() -> None:
    stored = (np.array([2, 7, 3, 0], np.int64).tobytes(), 3)
    assert TokenTexts(Transformer(kind="transformer"), "", 4).text(stored, "a", 0) is stored


def test_words_of_captions_travel_where_a_host_asks_for_them(plan: TrainingPlan, lane: ReadLane) -> None:
    plain, dataset = plan.reader, plan.open()
    assert isinstance(plain.texts, TokenTexts)
    words = CaptionWords(plain.texts.encoder, plain.wordpiece, plain.texts.length)
    reader = replace(plain, words=words)
    group = reader.read_group(dataset, 0, 0)
    captioned = [at for at, texts in enumerate(group.captions) if texts][:8]
    samples = [reader.sample(group, at, 0) for at in captioned]
    rest = {"slot": pa.array(range(len(samples))), "valid": pa.array([True] * len(samples))}
    batch = reader.batch(pa.table(reader.columns(samples) | rest), 0)
    assert batch.words.shape == batch.text.shape
    special = (batch.text == 2) | (batch.text == 3) | ~batch.text_mask
    assert (batch.words[special] == -1).all() and (batch.words >= 0).any(1).all()
    table = WordTable(words.encoder.pieces(WordPiece.from_json(plain.wordpiece)))
    for at, (sample, row_of) in enumerate(zip(samples, captioned, strict=True)):
        record = group.records[row_of]
        taxon = json.loads(record["facts"]).get("taxon")
        names = [("eng", name or "") for name in (taxon["value"], *taxon["lineage"].values())] if taxon else []
        names += taxon["names"].items() if taxon else []
        written = [(form, name) for code, name in names for form in (name, language(code).grammar.forms(name)[-1])]
        ids = np.frombuffer(sample.text, np.int64)[: sample.text_length].tolist()
        assert batch.words[at, : len(ids)].tolist() == table.words(ids, name_words(written))
    assert any(json.loads(record["facts"]).get("taxon") for record in group.records)
    without = next(iter(epoch_of(plan, lane, 0, 1)))
    assert (without.words == without.text.masked_fill(~without.text_mask, -1)).all()


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_two_workers_hold_the_batches_of_one(plan: TrainingPlan, lane: ReadLane, chunk: int) -> None:
    one = epoch_of(plan, lane, 0, 1, chunk)
    two = [epoch_of(plan, lane, rank, 2, chunk) for rank in range(2)]
    assert [batch.step for batch in one] == list(range(plan.order.batches))
    for whole, *shares in zip(one, *two, strict=True):
        assert {whole.step} == {share.step for share in shares}
        rows = {int(share.slot[at]): row(share, at) for share in shares for at in range(len(share))}
        assert rows == {int(whole.slot[at]): row(whole, at) for at in range(len(whole))}
        assert sorted(rows) == list(range(plan.order.global_batch))


def test_an_epoch_holds_each_row_once_and_padding_is_marked(plan: TrainingPlan, lane: ReadLane) -> None:
    found = epoch_of(plan, lane, 0, 1)
    ids = torch.cat([batch.sample_id[batch.valid] for batch in found]).tolist()
    names = plan.open().records(["sample_id"], split="train")["sample_id"].to_pylist()
    assert sorted(ids) == sorted(identifier(name) for name in names)
    assert not found[-1].valid.all() and all(batch.valid.all() for batch in found[:-1])


def test_a_block_out_of_its_place_is_refused(plan: TrainingPlan, lane: ReadLane) -> None:
    blocks = [lane.block(item) for item in plan.order.plan(1, 2, 0)]
    with pytest.raises(RuntimeError, match=r"worker 0 of 1 got lanes \[1, 0\] instead of \[0, 1\]"):
        list(batches(iter([blocks[1], blocks[0]]), plan.order, plan.reader, 0, 1))
    with pytest.raises(RuntimeError, match="worker 1 of 2 got lanes"):
        list(batches(iter(blocks[0::2]), plan.order, plan.reader, 1, 2))


def test_a_lane_source_pickles_and_reads_the_same(plan: TrainingPlan, lane: ReadLane) -> None:
    item = next(plan.order.plan(1, 2, 0))
    again = ReadLane(pickle.loads(pickle.dumps(plan.lanes())))
    assert again.block(item).equals(lane.block(item))
    assert isinstance(again.source.order, LaneOrder) and again.source.chunk(2) == 16


def test_a_long_run_has_larger_blocks_up_to_what_ray_data_leaves_whole(plan: TrainingPlan) -> None:
    source = plan.lanes()
    batch_bytes = source.order.lane_batch * source.reader.row_bytes
    epochs = 17 * MANY_ITEMS // (source.order.batches * source.order.lanes)
    assert source.chunk(1) == 16 and source.chunk(epochs) == 17
    assert source.chunk(10**9) == LARGEST_BLOCK // batch_bytes


def test_texts_that_are_known_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def encode(texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """As many ids as a text has characters, and more where another one is longer."""
        asked.append(list(texts))
        longest = max(map(len, texts))
        counts = torch.tensor([len(text) for text in texts])
        return torch.full((len(texts), longest), 9), torch.arange(longest) < counts[:, None]

    known = KnownTexts(encode, 4)
    first = known(["ab", "a", "ab"])
    assert asked == [["ab", "a"]] and first[0] == first[2]
    assert [np.frombuffer(ids, np.int64).tolist() for ids, _ in first[:2]] == [[9, 9, 0, 0], [9, 0, 0, 0]]
    assert [count for _, count in first] == [2, 1, 2] and known(["a"]) == [first[1]] and len(asked) == 1
    monkeypatch.setattr(known, "most", 2)
    assert known(["abc", "a"])[1] == first[1] and asked[1:] == [["abc", "a"]], "it begins anew"
