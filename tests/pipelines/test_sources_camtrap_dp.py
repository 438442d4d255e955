"""Camtrap DP: labels of both levels without double counting, times, taxa, broken packages, the standard's example."""

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from infra.storage import NotFound, open_store
from pipelines.errors import DataRefused
from pipelines.prepare import vocabularies
from pipelines.prepare.precedence import winning
from pipelines.sources import CamtrapDP
from pipelines.sources.schema import Survey

PROFILE = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2/camtrap-dp-profile.json"
DEPLOYMENTS = "deploymentID,locationID,latitude,longitude\nd1,spot,50.12345,4.5\nd2,NA,-1.23456,4.98765\nd3,,,\n"
MEDIA = "mediaID,deploymentID,timestamp,filePath,filePublic,fileMediatype"
OBSERVATIONS = (
    "observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,scientificName,"
    "count,lifeStage,sex,behavior,bboxX,bboxY,bboxWidth,bboxHeight,classificationMethod,classificationProbability"
)


def medium(name: str, deployment: str = "d1", time: str = "2021-05-01T10:00:00+02:00", **fields: str) -> str:
    row = {"path": f"media/{name}.jpg", "public": "true", "type": "image/jpeg", **fields}
    return f"{name},{deployment},{time},{row['path']},{row['public']},{row['type']}"


def observation(level: str, kind: str = "animal", **fields: str) -> str:
    names = OBSERVATIONS.split(",")
    row = {"observationID": "o", "deploymentID": "d1", "observationLevel": level, "observationType": kind, **fields}
    return ",".join(row.get(name, "") for name in names)


def write(folder: Path, media: list[str], observations: list[str], **descriptor: Any) -> None:
    resources = [{"name": name, "path": f"{name}.csv"} for name in ("deployments", "media", "observations")]
    package = {"profile": PROFILE, "resources": resources, **descriptor}
    (folder / "datapackage.json").write_text(json.dumps(package))
    (folder / "deployments.csv").write_text(DEPLOYMENTS)
    (folder / "media.csv").write_text("\n".join([MEDIA, *media]) + "\n")
    (folder / "observations.csv").write_text("\n".join([OBSERVATIONS, *observations]) + "\n")


def read(folder: Path, **settings: Any) -> Survey:
    return CamtrapDP(kind="camtrap_dp", **settings).read(open_store(str(folder)))


def labels(survey: Survey) -> list[tuple[str, str, str]]:
    columns = (survey.observations[name].to_pylist() for name in ("media_id", "level", "label"))
    return sorted(zip(*columns, strict=True))


def test_fields_are_taken_as_they_stand(tmp_path: Path) -> None:
    fox = {"scientificName": "Vulpes vulpes", "taxonRank": "species", "family": "Canidae",
           "vernacularNames": {"eng": "red fox", "nld": "vos"}}  # fmt: skip
    row = observation("media", mediaID="m1", eventID="e1", scientificName="Vulpes vulpes", count="2", lifeStage="adult",
                      sex="male", behavior="foraging", bboxX="0.1", bboxY="0.2", bboxWidth="0.3", bboxHeight="0.4",
                      classificationMethod="machine", classificationProbability="0.75")  # fmt: skip
    write(tmp_path, [medium("m1", public="false")], [row], taxonomic=[fox],
          licenses=[{"name": "CC0-1.0", "scope": "data"}, {"name": "CC-BY-4.0", "scope": "media"}])  # fmt: skip
    survey = read(tmp_path)
    taken, fact = survey.media.to_pylist()[0], survey.observations.to_pylist()[0]
    assert (taken["key"], taken["deployment_id"], taken["place"]) == ("media/m1.jpg", "d1", "spot")
    assert (taken["captured_at"], taken["utc_offset"], taken["event_id"]) == ("2021-05-01 10:00:00", 7200, "e1")
    assert (taken["public"], taken["licence"]) == (False, "CC-BY-4.0")
    assert (fact["type"], fact["taxon"], fact["rank"], fact["count"]) == ("animal", "Vulpes vulpes", "species", 2)
    assert json.loads(fact["names"]) == {"eng": "red fox", "nld": "vos"}
    assert json.loads(fact["lineage"]) == {"family": "Canidae"}
    assert (fact["life_stage"], fact["sex"], fact["behavior"], fact["method"]) == (
        "adult",
        "male",
        "foraging",
        "machine",
    )
    assert (fact["box"], fact["confidence"]) == (pytest.approx([0.1, 0.2, 0.3, 0.4]), 0.75)
    assert survey.refused.counts == {}


def test_ranks_in_capitals_and_names_that_are_numbers_are_read(tmp_path: Path) -> None:
    fox = {
        "scientificName": "Vulpes vulpes",
        "taxonRank": "Species",
        "family": "Canidae",
        "vernacularNames": {"eng": 7},
    }
    write(
        tmp_path, [medium("m1")], [observation("media", mediaID="m1", scientificName="Vulpes vulpes")], taxonomic=[fox]
    )
    (fact,) = (survey := read(tmp_path)).observations.to_pylist()
    assert (fact["rank"], json.loads(fact["names"])) == ("species", {"eng": "7"})
    known, names = vocabularies.attributes({}, [survey])
    assert (known["family"], known["genus"], known["species"]) == (["Canidae"], ["Vulpes"], ["Vulpes vulpes"])
    assert names.meanings["eng"] == {"7": {"species": "Vulpes vulpes"}}


def test_an_event_label_reaches_only_media_without_a_label_of_their_own(tmp_path: Path) -> None:
    media = [medium("m1"), medium("m2"), medium("m3"), medium("far", time="2021-05-01T12:00:00+02:00")]
    rows = [
        observation("event", eventID="e1", eventStart="2021-05-01T07:59:00Z", eventEnd="2021-05-01T08:01:00Z",
                    scientificName="Vulpes vulpes"),
        observation("media", mediaID="m1", eventID="e1", scientificName="Meles meles"),
        observation("media", "unclassified", mediaID="m2", eventID="e1"),
    ]  # fmt: skip
    write(tmp_path, media, rows)
    survey = read(tmp_path)
    assert labels(survey) == [
        ("m1", "media", "Meles meles"),
        ("m2", "event", "Vulpes vulpes"),
        ("m2", "media", "unclassified"),
        ("m3", "event", "Vulpes vulpes"),  # by its time, written with another offset than the event's
    ]
    assert survey.media["event_id"].to_pylist() == ["e1", "e1", "e1", None]
    assert survey.refused.counts == {}


def test_what_people_say_of_an_event_reaches_media_that_machines_alone_have_labelled(tmp_path: Path) -> None:
    span = {"eventStart": "2021-05-01T07:59:00Z", "eventEnd": "2021-05-01T08:01:00Z"}
    people, machine = {"classificationMethod": "human"}, {"classificationMethod": "machine"}
    rows = [
        observation("event", eventID="e1", scientificName="Vulpes vulpes", **people, **span),
        observation("event", eventID="e1", scientificName="Canis aureus", **machine, **span),
        observation("media", mediaID="m1", eventID="e1", scientificName="Canis lupus", **machine),
        observation("media", "unknown", mediaID="m2", eventID="e1", **people),
        observation("media", mediaID="m3", eventID="e1", scientificName="Meles meles", **people),
    ]
    write(tmp_path, [medium("m1"), medium("m2"), medium("m3")], rows)
    survey = read(tmp_path)
    assert labels(survey) == [
        ("m1", "event", "Vulpes vulpes"),
        ("m1", "media", "Canis lupus"),
        ("m2", "event", "Canis aureus"),
        ("m2", "event", "Vulpes vulpes"),
        ("m2", "media", "unknown"),
        ("m3", "media", "Meles meles"),
    ]
    of_m1 = [row for row in survey.observations.to_pylist() if row["media_id"] == "m1"]
    assert [row["taxon"] for row in winning(of_m1)] == ["Vulpes vulpes"]


def test_an_event_without_an_id_reaches_media_by_deployment_and_time(tmp_path: Path) -> None:
    span = {"eventStart": "2021-05-01T10:00:00+02:00", "eventEnd": "2021-05-01T10:00:05+02:00"}
    write(
        tmp_path,
        [medium("m1"), medium("m2", deployment="d2"), medium("m3", time="2021-05-01T10:00:05+02:00")],
        [observation("event", scientificName="Lynx lynx", **span)],
    )
    assert labels(read(tmp_path)) == [("m1", "event", "Lynx lynx"), ("m3", "event", "Lynx lynx")]


def test_every_observation_is_taken_or_refused_once(tmp_path: Path) -> None:
    span = {"eventStart": "2021-05-01T08:00:00Z", "eventEnd": "2021-05-01T08:00:00Z"}
    rows = [
        observation("media", mediaID="m1", eventID="e1"),
        observation("event", eventID="e1", **span),  # its only medium has a label
        observation("event", eventID="e2", deploymentID="d3", **span),  # no medium at all
        observation("event", eventID="e3", deploymentID="d2", **span),  # its medium is at an address
        observation("media", "unclassified", mediaID="web", deploymentID="d2"),
        observation("media", mediaID="nobody"),
        observation("media"),
        observation("neither", mediaID="m1"),
        observation("media", "plant", mediaID="m1"),
    ]
    write(tmp_path, [medium("m1"), medium("web", deployment="d2", path="https://x/1")], rows)
    survey = read(tmp_path)
    assert labels(survey) == [("m1", "media", "animal")]
    assert survey.refused.counts == {
        "remote_url": 1, "event_label_superseded": 1, "event_without_media": 1, "observation_of_refused_media": 2,
        "unknown_media": 1, "no_media_id": 1, "unknown_level": 1, "unknown_type": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (medium("m2", path="http://x/1.jpg"), "remote_url"),
        (medium("m2", path="gs://x/1.jpg"), "foreign_url"),
        (medium("m2", path="/1.jpg"), "absolute_path"),
        (medium("m2", path="~/1.jpg"), "absolute_path"),
        (medium("m2", path="a/../../1.jpg"), "parent_path"),
        (medium("m2", path=""), "no_path"),
        (medium("", path="media/2.jpg"), "no_id"),
        (medium("m2", type="video/mp4"), "not_an_image"),
        (medium("m1", path="media/2.jpg"), "duplicate_id"),
        (medium("m2", path="media/m1.jpg"), "duplicate_file"),
    ],
)
def test_a_medium_that_cannot_be_used_is_refused(tmp_path: Path, row: str, reason: str) -> None:
    write(tmp_path, [medium("m1"), row], [])
    survey = read(tmp_path)
    assert survey.media["media_id"].to_pylist() == ["m1"]
    assert survey.refused.counts == {reason: 1}


def test_a_place_is_the_location_else_the_rounded_coordinates(tmp_path: Path) -> None:
    write(tmp_path, [medium(f"m{number}", f"d{number}") for number in (1, 2, 3, 4)], [])
    survey = read(tmp_path)
    assert survey.media["place"].to_pylist() == ["spot", "-1.235,4.988", None, None]
    assert survey.refused.counts == {"unknown_deployment": 1}


@pytest.mark.parametrize("count", ["0", "many", "1.5", "-2"])
def test_a_count_that_is_none_leaves_the_label_and_is_counted(tmp_path: Path, count: str) -> None:
    rows = [observation("media", mediaID="m1", count=count), observation("media", "blank", mediaID="m2", count="0")]
    write(tmp_path, [medium("m1"), medium("m2")], rows)
    survey = read(tmp_path)
    assert survey.observations.select(["type", "count"]).to_pylist() == [
        {"type": "animal", "count": None},
        {"type": "blank", "count": None},
    ]
    assert survey.refused.counts == {"bad_count": 1}


@pytest.mark.parametrize("missing", ["", "NA", "NaN", "nan"])
def test_missing_values_are_null(tmp_path: Path, missing: str) -> None:
    row = observation("media", mediaID="m1", count=missing, sex=missing, scientificName=missing, bboxX=missing)
    write(tmp_path, [medium("m1", time=missing, public=missing)], [row])
    survey = read(tmp_path)
    fact = survey.observations.to_pylist()[0]
    assert (fact["count"], fact["sex"], fact["taxon"], fact["box"]) == (None, None, None, None)
    assert "bad_count" not in survey.refused.counts
    assert survey.media.select(["captured_at", "utc_offset", "public"]).to_pylist() == [
        {"captured_at": None, "utc_offset": None, "public": None}
    ]


def test_a_package_in_a_folder_with_compressed_tables(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    write(folder, [medium("m1")], [observation("media", mediaID="m1")])
    for name in ("deployments", "media", "observations"):
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress((folder / f"{name}.csv").read_bytes()))
        (folder / f"{name}.csv").unlink()
    package = json.loads((folder / "datapackage.json").read_text())
    for resource in package["resources"]:
        resource["path"] += ".gz"
    (folder / "datapackage.json").write_text(json.dumps(package))
    survey = read(tmp_path, package="package/datapackage.json")
    assert survey.media["key"].to_pylist() == ["package/media/m1.jpg"]
    survey = read(tmp_path, package="package/datapackage.json", media_prefix="elsewhere")
    assert survey.media["key"].to_pylist() == ["elsewhere/media/m1.jpg"]
    (folder / "media.csv.gz").write_bytes((folder / "media.csv.gz").read_bytes()[:-30])
    with pytest.raises(DataRefused, match=r"media\.csv\.gz"):
        read(tmp_path, package="package/datapackage.json")


@pytest.mark.parametrize(
    ("descriptor", "words"),
    [
        ({"profile": PROFILE.replace("1.0.2", "1.1.0")}, "is not Camtrap DP 1.0.x"),
        ({"profile": PROFILE.replace("1.0.2", "0.6")}, "is not Camtrap DP 1.0.x"),
        ({"profile": None}, "is not Camtrap DP 1.0.x"),
        ({"resources": []}, "no file for the resource 'deployments'"),
        ({"resources": None}, "no file for the resource 'deployments'"),
        (
            {"resources": [{"name": "deployments", "path": "https://x/deployments.csv"}]},
            "its host in the survey's `hosts`",
        ),
        ({"resources": [{"name": "deployments", "path": "gs://x/deployments.csv"}]}, r"\(copy it into the archive\)"),
        ({"resources": [{"name": "deployments", "path": "../deployments.csv"}]}, "parent_path"),
        ({"resources": [{"name": "deployments", "path": "media.csv"}]}, "lacks the column|no file for"),
        ({"resources": [{"name": "deployments", "path": "deployments.xlsx"}]}, "only .csv"),
    ],
)
def test_a_package_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, descriptor: Any, words: str) -> None:
    write(tmp_path, [medium("m1")], [], **descriptor)
    with pytest.raises(DataRefused, match=words) as refusal:
        read(tmp_path)
    assert "\n" not in str(refusal.value) and str(tmp_path) in str(refusal.value)


def test_a_missing_column_and_a_missing_table_are_named(tmp_path: Path) -> None:
    write(tmp_path, [], [])
    (tmp_path / "media.csv").write_text("mediaID,deploymentID\nm1,d1\n")
    with pytest.raises(DataRefused, match=r"media\.csv: the table lacks the column 'timestamp'"):
        read(tmp_path)
    (tmp_path / "media.csv").write_text(f"{MEDIA},mediaID\n")
    with pytest.raises(DataRefused, match=r"media\.csv: the table has two columns 'mediaID'"):
        read(tmp_path)
    (tmp_path / "media.csv").write_text("")
    with pytest.raises(DataRefused, match=r"media\.csv: not a readable CSV"):
        read(tmp_path)
    (tmp_path / "media.csv").unlink()
    with pytest.raises(NotFound, match=r"media\.csv"):
        read(tmp_path)


def test_a_package_whose_media_are_all_elsewhere_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [medium("m1", path="https://x/1"), medium("m2", path="https://x/2")], [])
    with pytest.raises(DataRefused, match=r"none of its 2 images can be used \(remote_url 2\)"):
        read(tmp_path)


@pytest.mark.parametrize("field", ["resources", "profile", "licenses", "taxonomic"])
@pytest.mark.parametrize(
    "value", [None, 5, "x", [], {}, [None], [[]], [{}], [{"name": 1, "path": 2, "scope": "media"}]]
)
def test_a_descriptor_of_any_shape_is_read_or_refused(tmp_path: Path, field: str, value: Any) -> None:
    write(tmp_path, [medium("m1")], [observation("media", mediaID="m1")], **{field: value})
    try:
        assert read(tmp_path).media.num_rows == 1
    except DataRefused as refusal:
        assert field in ("resources", "profile") and "\n" not in str(refusal)


def test_an_event_id_of_two_deployments_is_two_events(tmp_path: Path) -> None:
    """Each deployment numbers its events; an id that stands at one deployment alone stays as it is written."""
    media = [medium("m1"), medium("m2", "d2"), medium("m3", "d2"), medium("m4", ""), medium("m5")]
    events = {"m1": ("d1", "1"), "m2": ("d2", "1"), "m3": ("d2", "2"), "m4": ("", "2")}
    rows = [observation("media", mediaID=name, deploymentID=at, eventID=event) for name, (at, event) in events.items()]
    write(tmp_path, media, [*rows, observation("event", eventID="1", deploymentID="d2", scientificName="Meles meles")])
    survey = read(tmp_path)
    assert survey.media["event_id"].to_pylist() == ["d1/1", "d2/1", "d2/2", "/2", None]
    write(tmp_path, media[:3], rows[:1] + rows[2:3])
    assert read(tmp_path).media["event_id"].to_pylist() == ["1", None, "2"]


def test_another_delimiter_and_encoding(tmp_path: Path) -> None:
    write(tmp_path, [medium("m1")], [])
    package = json.loads((tmp_path / "datapackage.json").read_text())
    package["resources"][0] |= {"encoding": "latin-1", "dialect": {"delimiter": ";"}}
    (tmp_path / "datapackage.json").write_text(json.dumps(package))
    (tmp_path / "deployments.csv").write_bytes("deploymentID;locationID\nd1;Forêt\n".encode("latin-1"))
    assert read(tmp_path).media["place"].to_pylist() == ["Forêt"]
    package["resources"][0] |= {"encoding": "klingon"}
    (tmp_path / "datapackage.json").write_text(json.dumps(package))
    with pytest.raises(DataRefused, match=r"deployments\.csv: not a readable CSV"):
        read(tmp_path)


def test_rows_that_do_not_fit_the_header_are_counted(tmp_path: Path) -> None:
    write(tmp_path, [medium("m1"), "m2,d1", medium("m3") + ",more"], [observation("media", mediaID="m1") + ",,"])
    survey = read(tmp_path)
    assert survey.media["media_id"].to_pylist() == ["m1"]
    assert survey.refused.counts == {"ragged_row": 3}
    assert survey.refused.shown("ragged_row") == ["media.csv row 3", "media.csv row 4", "observations.csv row 2"]
    assert survey.refused.examples["ragged_row"] == survey.refused.shown("ragged_row"), (
        "nothing that a row says is kept"
    )


def test_a_table_that_says_utf8_and_is_latin1_is_read_and_counted(tmp_path: Path) -> None:
    write(tmp_path, [medium("m1")], [])
    (tmp_path / "deployments.csv").write_bytes("deploymentID,locationID\nd1,Forêt\n".encode("latin-1"))
    survey = read(tmp_path)
    assert survey.media["place"].to_pylist() == ["Forêt"]
    assert survey.refused.counts == {"latin1_file": 1}


def as_parquet(folder: Path) -> None:
    """The tables as a Parquet writer types them: real times, numbers and booleans, a list that is no use to us."""
    for name in ("deployments", "media", "observations"):
        table = csv.read_csv(folder / f"{name}.csv")
        table = table.append_column("extra", pa.array([[1, 2]] * table.num_rows, pa.list_(pa.int64())))
        pq.write_table(table, folder / f"{name}.parquet")
        (folder / f"{name}.csv").unlink()
    package = json.loads((folder / "datapackage.json").read_text())
    for resource in package["resources"]:
        resource["path"] = f"{resource['name']}.parquet"
    (folder / "datapackage.json").write_text(json.dumps(package))


def full_row() -> str:
    return observation("media", mediaID="m1", eventID="7", scientificName="Vulpes vulpes", count="2", bboxX="0.1",
                       bboxY="0.2", bboxWidth="0.3", bboxHeight="0.4", classificationProbability="0.75")  # fmt: skip


def test_parquet_tables_say_what_csv_tables_say(tmp_path: Path) -> None:
    times = {"time": "2021-05-01T08:00:00Z"}  # a Parquet time with a zone is kept in UTC
    write(tmp_path, [medium("m1", **times), medium("m2", public="false", **times)], [full_row()])
    tables = read(tmp_path)
    as_parquet(tmp_path)
    parquet = read(tmp_path)
    assert parquet.media.equals(tables.media) and parquet.observations.equals(tables.observations)
    assert parquet.deployments.equals(tables.deployments)
    assert (parquet.media["public"].to_pylist(), parquet.refused.counts) == ([True, False], {})
    (tmp_path / "media.parquet").write_bytes((tmp_path / "media.parquet").read_bytes()[:-20])
    with pytest.raises(DataRefused, match=r"media\.parquet: not a readable Parquet table"):
        read(tmp_path)


def zipped(folder: Path, inside: str = "") -> None:
    with zipfile.ZipFile(folder / "p.zip", "w", zipfile.ZIP_DEFLATED) as package:
        for path in sorted(folder.glob("*.*")):
            if path.suffix != ".zip":
                package.write(path, inside + path.name)
                path.unlink()


@pytest.mark.parametrize("parquet", [False, True])
def test_a_package_in_a_zip_is_read_where_it_lies(tmp_path: Path, parquet: bool) -> None:
    write(tmp_path, [medium("m1")], [full_row()])
    if parquet:
        as_parquet(tmp_path)
    loose = read(tmp_path)
    zipped(tmp_path)
    survey = read(tmp_path, package="p.zip")
    assert survey.media["key"].to_pylist() == ["p.zip!/media/m1.jpg"]
    assert survey.observations.equals(loose.observations) and survey.deployments.equals(loose.deployments)
    beside = read(tmp_path, package="p.zip", media_prefix="")
    assert beside.media["key"].to_pylist() == ["media/m1.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.zip"]


def test_a_package_in_a_folder_of_a_zip_is_named_in_full(tmp_path: Path) -> None:
    write(tmp_path, [medium("m1")], [full_row()])
    zipped(tmp_path, "survey/")
    with pytest.raises(NotFound, match=r"no such file in this zip; did you mean p\.zip!/survey/datapackage\.json\?"):
        read(tmp_path, package="p.zip")
    survey = read(tmp_path, package="p.zip!/survey/datapackage.json")
    assert survey.media["key"].to_pylist() == ["p.zip!/survey/media/m1.jpg"]


def test_deployments_are_told_in_the_clock_of_their_media(tmp_path: Path) -> None:
    """Deployment times with another offset than the media's, a camera that changed to winter time, doubts, no times."""
    media = [medium("m1"), medium("m2", time="2021-11-01T10:00:00+01:00"), medium("m3", "d2")]
    write(tmp_path, media, [])
    head = "deploymentID,locationID,deploymentStart,deploymentEnd,timestampIssues\n"
    rows = "d1,spot,2021-05-01T06:00:00Z,2021-11-01T23:30:00Z,false\nd2,NA,2021-05-01T06:00:00Z,,true\nd3,,x,,\n"
    (tmp_path / "deployments.csv").write_text(head + rows)
    survey = read(tmp_path)
    assert [tuple(row.values()) for row in survey.deployments.to_pylist()] == [
        ("d1", "spot", "2021-05-01 08:00:00", "2021-11-02 00:30:00", False),
        ("d2", None, "2021-05-01 08:00:00", None, True),
        ("d3", None, None, None, None),
    ]
    assert survey.refused.counts == {"unreadable_time": 1}


def test_an_unnamed_frame_of_the_camera_being_set_up_shows_a_person(tmp_path: Path) -> None:
    write(tmp_path, [medium("m1"), medium("m2"), medium("m3")], [])
    rows = ["m1,unclassified,setup", "m2,unknown,calibration", "m3,blank,setup"]
    lines = [f"d1,media,{row}" for row in rows]
    (tmp_path / "observations.csv").write_text(
        "\n".join(["deploymentID,observationLevel,mediaID,observationType,cameraSetupType", *lines]) + "\n"
    )
    assert read(tmp_path).observations["type"].to_pylist() == ["human", "human", "blank"]


@pytest.mark.data
def test_the_standards_example(data_dir: Path) -> None:
    survey = read(data_dir / "camtrap-dp-example")
    counts = survey.refused.counts
    assert survey.media.num_rows + counts["remote_url"] == 423
    assert survey.media.num_rows == 10
    assert (
        survey.observations.num_rows + counts["observation_of_refused_media"] + counts["event_label_superseded"] == 549
    )
    assert counts["event_label_superseded"] == 35  # another event is of media that machines alone have labelled
    assert set(survey.observations["level"].to_pylist()) == {"media"}
    assert set(survey.media["utc_offset"].to_pylist()) == {3600}
    assert {(row["deployment_id"], row["start"], row["end"], row["clock_fault"])
            for row in survey.deployments.to_pylist()} >= {
        ("62c200a9", "2021-03-27 21:38:18", "2021-04-18 22:25:00", False)}  # fmt: skip
    assert survey.deployments.num_rows == 4
    assert all(set(json.loads(names)) == {"eng", "nld"} for names in survey.observations["names"].to_pylist() if names)
    listed = {entry.key for entry in open_store(str(data_dir / "camtrap-dp-example")).list("media")}
    assert set(survey.media["key"].to_pylist()) == listed
