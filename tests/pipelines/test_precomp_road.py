"""A folder of region features goes through prepare, training steps and evaluate, as any archive does."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.prepare.flow import prepare
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan, build_model
from tests.pipelines.precomp_folder import GUIDE, REGIONS, WIDTH, write_precomp
from xmodal.matchers.pfan import Pfan
from xmodal.settings import SettingsError, merge, parse

SIZES = {"train": 40, "dev": 10, "test": 12}


def document(archive: Path, root: Path, **changes: Any) -> dict[str, Any]:
    """USER's parts, small, over a generated folder."""
    source = {"kind": "precomp", "regions": [REGIONS, WIDTH]}
    data = {"name": "regions", "surveys": [{"name": "f30k", "archive": str(archive), "source": source}]}
    data |= {"split": {"kind": "published"}, "pixels": {"size": 32}, "generated": True}
    model = {
        "embed_dim": 16,
        "image": {"kind": "precomputed", "regions": REGIONS, "width": WIDTH},
        "image_enhance": [{"kind": "self_guided"}],
        "head": {"kind": "tokenwise", "hidden": 12},
        "text": {"kind": "bigru", "word_dim": 12, "width": 16},
        "text_head": {"kind": "tokenwise"},
        "pooling": {"kind": "gpo", "position_dim": 8, "hidden": 8},
        "momentum": {"coefficient": 0.9},
        "queue": {"size": 16},
        "tasks": {"itc": None, "uto": {}},
    }
    train = {"epochs": 2, "global_batch": 8, "lanes": 2, "words": {}}
    whole = {"name": "regions", "data": data, "model": model, "train": train, "compute": {"root": str(root)}}
    return merge(whole, changes)


def made(archive: Path, root: Path, **changes: Any) -> tuple[Recipe, Dataset]:
    recipe = parse(Recipe, document(archive, root, **changes))
    store = recipe.compute.store()
    return recipe, prepare(recipe.data, store, recipe.model.image, recipe.model.text, workers=InProcess())


def stored(dataset: Dataset, encoder: str) -> dict[str, np.ndarray]:
    """Media id to cached features."""
    shape = dataset.feature(encoder).shape
    found = {}
    for item in dataset.items:
        ids = dataset.read_group(item.index, 0, "records", ["media_id"])["media_id"].to_pylist()
        rows = dataset.read_group(item.index, 0, encoder, ["features"])["features"].to_pylist()
        found |= {one: np.frombuffer(row, np.float16).reshape(shape) for one, row in zip(ids, rows, strict=True)}
    return found


def test_features_are_the_rows_of_the_arrays(tmp_path: Path) -> None:
    write_precomp(tmp_path / "archive", SIZES)
    recipe, dataset = made(tmp_path / "archive", tmp_path / "root")
    assert dataset.counts == {"train": 40, "val": 10, "test": 12} and dataset.check(read_data=True) == []
    found = stored(dataset, recipe.model.image.build().identity())
    for stem in SIZES:
        rows = np.load(tmp_path / "archive" / f"{stem}_ims.npy").astype(np.float16)
        assert all((found[f"{stem}/{number:07d}"] == row).all() for number, row in enumerate(rows))
    ledger = dataset.ledger(["key", "status", "reason"]).to_pylist()
    assert len(ledger) == 62 + 3 and {row["reason"] for row in ledger} == {None, "metadata"}
    again = prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
    assert again.version == dataset.version


def test_a_repeated_row_and_a_guide_are_read_from_their_own_row(tmp_path: Path) -> None:
    write_precomp(tmp_path / "archive", SIZES, repeated=True, guide=True)
    for stem in SIZES:
        guides = np.load(tmp_path / "archive" / f"{stem}_clip.npy")
        np.save(tmp_path / "archive" / f"{stem}_clip.npy", guides.repeat(5, axis=0))
    model = {"image": {"guide_width": GUIDE}, "image_enhance": [{"kind": "clip_guided", "guide_width": GUIDE}]}
    recipe, dataset = made(tmp_path / "archive", tmp_path / "root", model=model)
    found = stored(dataset, recipe.model.image.build().identity())["test/0000004"]
    rows, guides = (np.load(tmp_path / "archive" / f"test_{kind}.npy") for kind in ("ims", "clip"))
    assert found.shape == (REGIONS + 1, WIDTH) and (found[:-1] == rows[20].astype(np.float16)).all()
    assert (found[-1, :GUIDE] == guides[20].astype(np.float16)).all() and (found[-1, GUIDE:] == 0).all()


PFAN: dict[str, Any] = {
    "image": {"positions": True},
    "image_enhance": [],
    "text": {"width": 12},
    "matcher": {"kind": "pfan", "width": 12, "position_width": 6, "positions": True, "project_text": False},
    "tasks": {"uto": None, "triplet": {}},
}


def test_blocks_stand_behind_a_region_and_pfan_takes_them_off(tmp_path: Path) -> None:
    write_precomp(tmp_path / "archive", SIZES, boxes=True)
    recipe, dataset = made(tmp_path / "archive", tmp_path / "root", model=PFAN, train={"words": None})
    found = stored(dataset, recipe.model.image.build().identity())["dev/0000003"]
    rows, boxes = (np.load(tmp_path / "archive" / f"dev_{kind}.npy")[3] for kind in ("ims", "boxes"))
    assert found.shape == (REGIONS, WIDTH + 30) and (found[:, :WIDTH] == rows.astype(np.float16)).all()
    assert (found[:, WIDTH : WIDTH + 15] == boxes[:, :15]).all()
    host = cast(Pfan, build_model(recipe, dataset).host)
    tokens = torch.from_numpy(found.astype(np.float32))[None]
    ids, weights = torch.from_numpy(boxes[None, :, :15]).long(), torch.from_numpy(boxes[None, :, 15:])
    wanted = host.placed(tokens[..., :WIDTH], ids, weights)
    torch.testing.assert_close(host.regions(tokens), wanted, atol=1e-3, rtol=1e-3)
    moved = host.placed(tokens[..., :WIDTH], ids.flip(1), weights.flip(1))
    assert (moved - wanted).abs().max() > 1e-3


def test_a_block_that_is_none_is_refused(tmp_path: Path) -> None:
    write_precomp(tmp_path / "archive", SIZES, boxes=True)
    boxes = np.load(tmp_path / "archive" / "train_boxes.npy")
    boxes[2, 1, 4] = 257
    np.save(tmp_path / "archive" / "train_boxes.npy", boxes)
    with pytest.raises(DataRefused, match=r"train_boxes\.npy: row 2: an id of a block is none of 0 to 256"):
        made(tmp_path / "archive", tmp_path / "root", model=PFAN, train={"words": None})


def test_positions_need_both_sides() -> None:
    for change in ({"image": {"positions": False}}, {"matcher": {"positions": False}}):
        with pytest.raises(SettingsError, match="pfan needs both"):
            parse(Recipe, document(Path("archive"), Path("root"), model=merge(PFAN, change)))


def test_a_plan_reads_features_and_tokens(tmp_path: Path) -> None:
    write_precomp(tmp_path / "archive", SIZES)
    recipe, dataset = made(tmp_path / "archive", tmp_path / "root")
    plan = TrainingPlan.of(recipe, dataset)
    assert plan.reader.images.shape == (REGIONS, WIDTH) and plan.order.batches == 5


@pytest.mark.parametrize(
    ("model", "spoil", "text"),
    [
        ({"image": {"width": 23}}, None, r"regions of \(6, 24\); image.regions and image.width say \(6, 23\)"),
        (
            {"image": {"guide_width": 8}, "image_enhance": [{"kind": "clip_guided", "guide_width": 8}]},
            None,
            r"_clip\.npy: no array of guides; shape \(\d+, 8\) is expected",
        ),
        (PFAN, None, r"_boxes\.npy: no array of positions; shape \(\d+, 6, 30\) is expected"),
        ({}, 1e6, r"a feature beyond 65504"),
    ],
)
def test_features_that_do_not_fit_the_encoder_are_refused(
    tmp_path: Path, model: dict[str, Any], spoil: float | None, text: str
) -> None:
    write_precomp(tmp_path / "archive", SIZES)
    if spoil is not None:
        rows = np.load(tmp_path / "archive" / "test_ims.npy")
        rows[3, 1, 1] = spoil
        np.save(tmp_path / "archive" / "test_ims.npy", rows)
    with pytest.raises(DataRefused, match=text):
        made(tmp_path / "archive", tmp_path / "root", model=model)


def test_a_row_that_is_not_finite_is_a_counted_file(tmp_path: Path) -> None:
    write_precomp(tmp_path / "archive", SIZES)
    rows = np.load(tmp_path / "archive" / "train_ims.npy")
    rows[3, 1, 1] = np.nan
    np.save(tmp_path / "archive" / "train_ims.npy", rows)
    _, dataset = made(tmp_path / "archive", tmp_path / "root", data={"max_bad_share": 0.1})
    bad = [row for row in dataset.ledger(["key", "reason"]).to_pylist() if row["reason"] == "decode_error"]
    assert [row["key"] for row in bad] == ["train_ims.npy!/0000003"] and dataset.counts["train"] == 39


def test_an_archive_of_photographs_has_no_precomputed_features(tmp_path: Path) -> None:
    from tests.pipelines.road import document as photographs
    from tests.pipelines.surveys import write_survey

    write_survey(open_store(f"{tmp_path}/archive"))
    image = {"kind": "precomputed", "regions": REGIONS, "width": WIDTH}
    recipe = parse(Recipe, photographs(f"{tmp_path}/archive", f"{tmp_path}/root", model={"image": image}))
    with pytest.raises(DataRefused, match=r"image\.kind precomputed: .* is no row of an array \*_ims\.npy"):
        prepare(recipe.data, recipe.compute.store(), recipe.model.image, recipe.model.text, workers=InProcess())
