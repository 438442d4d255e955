"""The leakage report: zero for every version that is made, and a version whose splits cross is not trained on."""

import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from infra.storage import Store, open_store
from pipelines.check import check
from pipelines.dataset import Dataset
from pipelines.errors import DataRefused, Failed
from pipelines.prepare import versions
from pipelines.prepare.leakage import leakage, refuse_leaks, told
from pipelines.prepare.parts import RECORDS, parquet, put_part
from pipelines.recipe import Recipe
from pipelines.train.plan import TrainingPlan
from tests.pipelines.road import document
from tests.pipelines.surveys import coco_settings, prepare, settings, write_coco
from xmodal.settings import SettingsError, parse

CIS = {"kind": "place", "cis_val": 0.2, "cis_test": 0.3}
TIME = {"kind": "time", "cut": "2026-05-05"}
NONE = "0 places, 0 events, 0 files, 0 days"


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG", comment=str(number))
    return stream.getvalue()


def write_seasons(archive: Store, places: int = 10, days: int = 6, copies: bool = True) -> None:
    """A COCO archive: at each place and day a burst before midnight and one across it, and some exact copies. No two
    places share a time, which would say that their cards were mixed up."""
    images = []
    for place in range(places):
        for day in range(days):
            evening = datetime(2026, 5, 1, 23, 59, 45 + place) + timedelta(day)
            for burst, seconds in ((0, -36000), (1, 0)):
                for frame in range(2):
                    name = f"{place}/{day}-{burst}-{frame}"
                    time = str(evening + timedelta(seconds=seconds + 15 * frame))
                    images.append({"id": name, "file_name": f"{name}.jpg", "location": f"place {place}", "category": 1,
                                   "datetime": time, "seq_id": f"{place}-{day}-{burst}"})  # fmt: skip
    data = {one["file_name"]: picture(3 if copies and n % 40 == 0 else n) for n, one in enumerate(images)}
    write_coco(archive, images, data)


@pytest.fixture
def seasons(tmp_path: Path) -> Store:
    archive = open_store(str(tmp_path / "seasons"))
    write_seasons(archive)
    return archive


def moved(dataset: Dataset, number: int, **change: str) -> Dataset:
    """A version NUMBER of `dataset` in which one training row says what `change` says."""
    home, document = versions.home(dataset.store, dataset.name), json.loads(json.dumps(dataset.document))
    entry = next(part for part in document["records"] if part["splits"].get("train"))
    rows = pq.read_table(pa.BufferReader(home.read(entry["path"])), schema=RECORDS).to_pylist()
    next(row for row in rows if row["split"] == "train").update(change)
    data = parquet(pa.Table.from_pylist(rows, RECORDS))
    document["records"][document["records"].index(entry)] = entry | put_part(home, "records", "x", data, len(rows))
    document |= {"version": number, "digest": versions.content_digest(document)}
    home.put(versions.path(number), json.dumps(document).encode())
    return Dataset.open(dataset.store, dataset.name, number)


def place_splits(dataset: Dataset) -> dict[str, str]:
    """The one split of each place."""
    rows = dataset.records(["place", "split"])
    pairs = set(zip(rows["place"].to_pylist(), rows["split"].to_pylist(), strict=True))
    found = {place: split for place, split in pairs if split != "none"}
    assert len(found) == sum(split != "none" for _, split in pairs)
    return found


@pytest.mark.parametrize("split", [{"kind": "place"}, CIS, TIME])
def test_nothing_stands_in_two_splits_of_a_version_that_was_made(seasons: Store, root: Store, split: dict) -> None:
    dataset = prepare(coco_settings(seasons.url, split=split), root)
    assert {"train", "val", "test"} <= dataset.counts.keys()
    assert ({"cis_val", "cis_test"} <= dataset.counts.keys()) is (split is CIS)
    assert dataset.document["surveys"][0]["counts"]["ok/cross_split_duplicate"] >= 1
    found = leakage(dataset)
    assert told(found) == (NONE if split is not TIME else "0 events, 0 files, 0 days")
    refuse_leaks(dataset)
    assert check("coco", root.url, read_data=False).endswith(f"version 1: in two splits: {told(found)}")
    guarantee = dataset.document["split"]["location_guarantee"], dataset.document["split"]["without_place"]
    assert guarantee == (split is not TIME, 0)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"split": "test"}, "1 places (train and test), 1 events (train and test), 0 files, 0 days"),
        ({"split": "cis_val"}, "0 places, 1 events (train and cis_val), 0 files, 1 days (train and cis_val)"),
    ],
)
def test_every_kind_of_crossing_is_counted_and_refused(tmp_path: Path, root: Store, change: dict, seen: str) -> None:
    archive = open_store(str(tmp_path / "seasons"))
    write_seasons(archive, copies=False)
    crossed = moved(prepare(coco_settings(archive.url, split=CIS), root), 2, **change)
    assert told(leakage(crossed)) == seen
    with pytest.raises(DataRefused, match=r"dataset coco version 2: 1 \w+ stand in two splits, most in train and"):
        refuse_leaks(crossed)
    with pytest.raises(Failed, match=r"version 2: in two splits: .*1 events"):
        check("coco", root.url, read_data=False)


def test_equal_bytes_in_two_splits_are_found_in_the_ledger(tmp_path: Path, root: Store) -> None:
    archive = open_store(str(tmp_path / "copies"))
    images = [{"id": str(n), "file_name": f"{n}.jpg", "category": 1} for n in range(60)]
    write_coco(archive, images, {f"{n}.jpg": picture(n // 2) for n in range(60)})
    dataset = prepare(coco_settings(archive.url), root)
    assert told(leakage(dataset)) == NONE and dataset.document["split"]["without_place"] == 1
    assert dataset.document["split"]["location_guarantee"] is False
    assert told(leakage(moved(dataset, 2, split="val"))) == "0 places, 0 events, 1 files (train and val), 0 days"


def test_a_dataset_whose_splits_cross_is_not_trained_on(archive: Store, root: Store) -> None:
    dataset = prepare(settings(archive.url), root)
    recipe = parse(Recipe, document(archive.url, root.url))
    assert TrainingPlan.of(recipe, dataset).total_steps
    with pytest.raises(DataRefused, match=r"places stand in two splits, most in train and test; .*prepare it again"):
        TrainingPlan.of(recipe, moved(dataset, 2, split="test"))


def test_a_new_season_at_the_same_cameras_joins_their_places_and_is_a_test_before_it_trains(
    seasons: Store, tmp_path: Path, root: Store
) -> None:
    spring = open_store(str(tmp_path / "spring"))
    write_seasons(spring, places=12, copies=False)
    for n, entry in enumerate(list(spring.list())):
        if entry.key.endswith(".jpg"):
            spring.put(entry.key, picture(2000 + n))
    both = coco_settings(seasons.url).model_dump(mode="json")
    both["surveys"].append(both["surveys"][0] | {"name": "spring", "archive": spring.url, "places_of": "coco"})
    first = prepare(coco_settings(seasons.url), root)
    second = prepare(coco_settings(seasons.url, surveys=both["surveys"]), root)
    assert second.version == 2 and told(leakage(second)) == NONE
    was, now = place_splits(first), place_splits(second)
    assert len(was) == 10 and len(now) == 12 and was.items() <= now.items()
    tested = prepare(
        coco_settings(seasons.url, surveys=both["surveys"], split={"kind": "time", "new": ["spring"]}), root
    )
    rows = tested.records(["survey", "split"]).group_by(["survey", "split"]).aggregate([([], "count_all")]).to_pylist()
    assert {row["split"] for row in rows if row["survey"] == "spring"} == {"test"}
    assert "test" not in {row["split"] for row in rows if row["survey"] == "coco"}


def test_settings_name_surveys_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="split names the survey 'cocoo'; did you mean coco"):
        coco_settings(str(tmp_path), split={"kind": "time", "new": ["cocoo"]})
    with pytest.raises(SettingsError, match="nothing tests: give a cut"):
        coco_settings(str(tmp_path), split={"kind": "time"})
    with pytest.raises(SettingsError, match="leave no day to train on"):
        coco_settings(str(tmp_path), split={"kind": "place", "cis_val": 0.5, "cis_test": 0.5})
    with pytest.raises(SettingsError, match=r"split\.cut.*date"):
        coco_settings(str(tmp_path), split={"kind": "time", "cut": "May"})
    survey = coco_settings(str(tmp_path)).surveys[0].model_dump(mode="json")
    with pytest.raises(SettingsError, match="places_of names the survey 'autumn'; allowed: coco"):
        coco_settings(str(tmp_path), surveys=[survey, survey | {"name": "x", "places_of": "autumn"}])
