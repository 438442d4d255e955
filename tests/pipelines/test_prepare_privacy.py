"""Privacy is on by default: what the source holds of people and places is in no stored object."""

import io

from PIL import Image

from infra.storage import Store
from pipelines.demo.files import PLANTED_NAME
from pipelines.prepare import listing
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.units import place_hash
from tests.pipelines.surveys import prepare, settings


def secrets_of(archive: Store, data: DataSettings) -> set[bytes]:
    """What the source holds and no stored object may: a name, coordinates, places, people's frames."""
    survey = listing.list_survey(data, data.surveys[0])
    people = [key for key, reason in survey.rejected.items() if reason == "withheld"]
    places = {name for name in survey.known.survey.media["place"].to_pylist() if name}
    assert people and places
    return {PLANTED_NAME.encode(), *(name.encode() for name in places), *(archive.read(key)[-400:] for key in people)}


def test_no_secret_of_the_source_is_stored(archive: Store, root: Store) -> None:
    data = settings(archive.url)
    planted = secrets_of(archive, data)
    everything = b"".join(archive.read(entry.key) for entry in archive.list())
    dataset = prepare(data, root)
    stored = b"".join(root.read(entry.key) for entry in root.list())
    pixels = [dataset.read_group(item.index, 0, "pixels") for item in dataset.items]
    tables = [dataset.records(), dataset.ledger(), *pixels]
    stored += repr([table.to_pylist() for table in tables]).encode()
    keys = "".join(dataset.ledger()["key"].to_pylist()).encode()
    assert all(secret in everything for secret in planted)
    assert not [secret for secret in planted if secret in stored and secret not in keys]
    for image_bytes in (row for table in pixels for row in table["image"].to_pylist()):
        with Image.open(io.BytesIO(image_bytes)) as picture:
            assert not picture.getexif() and b"Exif" not in image_bytes


def test_people_come_in_where_privacy_lets_them(archive: Store, root: Store) -> None:
    open_house = {"people": True, "vehicles": True, "non_public": True}
    dataset = prepare(settings(archive.url, privacy=open_house), root)
    assert "rejected/withheld" not in dataset.document["surveys"][0]["counts"]
    assert any("person" in text.decode() for text in dataset.records(["captions"])["captions"].to_pylist())


def test_stored_places_are_hashes(archive: Store, root: Store) -> None:
    data = settings(archive.url)
    names = set(listing.list_survey(data, data.surveys[0]).known.survey.media["place"].to_pylist())
    places = set(prepare(data, root).records(["place"])["place"].to_pylist()) - {None}
    assert places and places <= {place_hash("tiny", name) for name in names if name}
