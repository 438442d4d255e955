"""A Camtrap DP package whose deployments each number their events from 1, through prepare."""

from pathlib import Path

import pytest

from infra.storage import Store, open_store
from pipelines.prepare.leakage import leakage
from pipelines.prepare.settings import DataSettings
from tests.pipelines.surveys import prepare
from tests.pipelines.test_prepare_flow import image
from tests.pipelines.test_sources_camtrap_dp import medium, observation, write
from xmodal.settings import parse

SITES = [f"d{number}" for number in range(8)]


@pytest.fixture
def archive(tmp_path: Path) -> Store:
    folder = tmp_path / "package"
    folder.mkdir()
    names = [(site, number) for site in SITES for number in range(4)]
    media = [medium(f"{site}-{n}", site, f"2021-05-0{1 + n}T10:0{site[1]}:00+02:00") for site, n in names]
    rows = [
        observation("media", mediaID=f"{site}-{n}", deploymentID=site, eventID=str(n), scientificName="Vulpes vulpes")
        for site, n in names
    ]
    write(folder, media, rows)
    (folder / "deployments.csv").write_text("deploymentID,locationID\n" + "".join(f"{s},at {s}\n" for s in SITES))
    archive = open_store(str(folder))
    for number, (site, n) in enumerate(names):
        archive.put(f"media/{site}-{n}.jpg", image(5 * number) + f"{site}-{n}".encode())
    return archive


def test_events_of_one_number_stay_apart_and_places_can_be_split(archive: Store, root: Store) -> None:
    survey = {"name": "camtrap", "archive": archive.url, "source": {"kind": "camtrap_dp"}}
    data = parse(DataSettings, {"name": "camtrap", "surveys": [survey], "pixels": {"size": 16, "min_side": 4}})
    dataset = prepare(data, root)
    assert {"train", "val", "test"} <= dataset.counts.keys()
    rows = dataset.records(["media_id", "event_id"]).to_pylist()
    assert {row["media_id"]: row["event_id"] for row in rows}["d3-2"] == "d3/2"
    assert len({row["event_id"] for row in rows}) == len(rows) == 4 * len(SITES)
    assert not any(one.count for one in leakage(dataset))
