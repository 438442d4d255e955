"""What the real sets are too small to show, on a generated archive of 120 places: splits, events, intervals."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.storage import open_store
from pipelines.dataset import Dataset
from pipelines.prepare.leakage import leakage
from tests.pipelines import protocol_survey
from tests.pipelines.test_evaluate_protocol import Evaluated, evaluated_as

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PLACES, CUT = 120, "2026-05-05"
BY_PLACE = {"kind": "place", "val": 0.15, "test": 0.2, "cis_test": 0.15}


def of(folder: Path, split: Mapping[str, Any]) -> Evaluated:
    archive = f"{folder / 'root'}/archive"
    protocol_survey.write(open_store(archive), PLACES)
    return evaluated_as(folder, {"surveys": [protocol_survey.survey(archive)], "split": split})


@pytest.fixture(scope="module")
def by_place(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return of(tmp_path_factory.mktemp("places"), BY_PLACE)


@pytest.fixture(scope="module")
def by_time(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return of(tmp_path_factory.mktemp("time"), {"kind": "time", "cut": CUT})


def splits_of(dataset: Dataset, column: str) -> dict[str, set[str]]:
    """The splits in which each value of `column` stands, rows left out apart."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in dataset.records([column, "split"]).to_pylist():
        found[row[column]] |= {row["split"]} - {"none"}
    return found


def test_places_are_shared_out_as_asked_and_events_stay_whole(by_place: Evaluated) -> None:
    places, events = (splits_of(by_place.dataset, column) for column in ("place", "event_id"))
    assert len(places) == PLACES and len(events) == PLACES * protocol_survey.EVENTS
    named = event_species(by_place.dataset)
    assert all(len(splits) == 1 for event, splits in events.items() if named[event])
    assert all(len(splits) <= 1 for splits in events.values()), "of blank events some train, the others are left out"
    assert {tuple(sorted(one)) for one in places.values()} == {("test",), ("val",), ("train",), ("cis_test", "train")}
    shares = {name: sum(name in splits for splits in places.values()) / PLACES for name in ("test", "val")}
    assert shares["test"] == pytest.approx(0.2, abs=0.1) and shares["val"] == pytest.approx(0.15, abs=0.1)
    assert [one.count for one in leakage(by_place.dataset)] == [0, 0, 0, 0]


def test_intervals_resample_the_places_of_the_split(by_place: Evaluated) -> None:
    where = {row["place"] for row in by_place.dataset.records(["place"], split="test").to_pylist()}
    assert len(where) > 15
    micro, events = (by_place.figures[f"test/{name}"] for name in ("species/micro", "events/max/micro_f1"))
    for one in (micro, events):
        assert one["low"] < one["value"] < one["high"] and one["high"] - one["low"] < 35
    assert events["n"] == sum(taxon is not None for taxon in event_species(by_place.dataset, "test").values())


def event_species(dataset: Dataset, split: str | None = None) -> dict[str, str | None]:
    rows = dataset.records(["event_id", "taxon"], split=split).to_pylist()
    return {row["event_id"]: row["taxon"] for row in rows}


def test_what_came_later_tests_and_nothing_of_it_trains(by_time: Evaluated) -> None:
    rows = by_time.dataset.records(["captured_at", "split", "place"]).to_pylist()
    for row in rows:
        assert row["split"] in (("test",) if row["captured_at"] >= CUT else ("train", "val", "none"))
    tested, trained = ({row["place"] for row in rows if row["split"] == name} for name in ("test", "train"))
    assert tested <= trained and len(tested) == PLACES, "the same cameras, later"
    assert [one.count for one in leakage(by_time.dataset)] == [0, 0, 0]


def test_at_seen_places_the_lookup_of_the_place_is_the_mark(by_time: Evaluated) -> None:
    """What was most frequent at each place before the cut, against what came after it."""
    rows = by_time.dataset.records(["split", "place", "taxon"]).to_pylist()
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["split"] == "train" and row["taxon"]:
            seen[row["place"]][row["taxon"]] += 1
    asked = [row for row in rows if row["split"] == "test" and row["taxon"]]
    best = [{name for name, n in seen[row["place"]].items() if n == max(seen[row["place"]].values())} for row in asked]
    sure = [row["taxon"] in names for row, names in zip(asked, best, strict=True) if len(names) == 1]
    may = sum(row["taxon"] in names for row, names in zip(asked, best, strict=True))
    found = by_time.figures["test/species/micro"]
    assert found["n"] == len(asked) and sum(sure) - 0.5 < found["baseline"] * found["n"] / 100 < may + 0.5
