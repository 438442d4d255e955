"""Wildlife Insights: where copies lie, places, ranks, blanks, several rows an image, sequences, a real bundle."""

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infra.storage import Store, open_store
from pipelines.errors import DataRefused
from pipelines.prepare import cameras
from pipelines.prepare.clocks import date_only
from pipelines.prepare.settings import DataSettings, SurveySettings
from pipelines.sources import WildlifeInsights
from pipelines.sources.schema import DEPLOYMENTS as DEPLOYMENTS_TABLE
from pipelines.sources.schema import Survey
from tests.pipelines.surveys import prepare
from xmodal.settings import SettingsError, parse

IMAGES = (
    "project_id,deployment_id,image_id,filename,location,is_blank,identified_by,wi_taxon_id,class,order,family,genus,"
    "species,common_name,uncertainty,timestamp,number_of_objects,age,sex,animal_recognizable,individual_id,"
    "individual_animal_notes,highlighted,markings,cv_confidence,license"
)
DEPLOYMENTS = "project_id,deployment_id,placename,longitude,latitude,start_date,end_date,recorded_by"
SEQUENCES = (
    "project_id,deployment_id,sequence_id,is_blank,identified_by,wi_taxon_id,class,order,family,genus,species,"
    "common_name,start_time,end_time,group_size"
)
PUMA = {"class": "Mammalia", "order": "Carnivora", "family": "Felidae", "genus": "Puma", "species": "concolor",
        "common_name": "Puma"}  # fmt: skip
SITES = [
    {
        "deployment_id": "d1",
        "placename": "ridge",
        "start_date": "2020-01-01 00:00:00",
        "end_date": "2020-02-01 00:00:00",
    },
    {"deployment_id": "d2", "placename": "ridge"},
    {"deployment_id": "d3", "latitude": "-2.26877", "longitude": "-73.767587", "end_date": "2020-03-01 12:00:00"},
]


def image(number: int, **fields: str) -> dict[str, str]:
    address = f"gs://bucket/deployment/77/prod/g{number}.jpg"
    return {"project_id": "1", "deployment_id": "d1", "image_id": f"i{number}", "filename": f"IMG_{number}.JPG",
            "location": address, "is_blank": "0", "timestamp": "2020-01-05 06:07:08", **fields}  # fmt: skip


def table(header: str, rows: list[dict[str, str]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, header.split(","), restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def write(folder: Path, images: list[dict[str, str]], **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    sites = more.get("deployments", [{"project_id": "1", **site} for site in SITES])
    projects = more.get("projects", [{"project_id": "1", "image_license": "CC-BY", "project_admin": "Planted Person"}])
    header = IMAGES + ",sequence_id" * any("sequence_id" in row for row in images)
    (folder / "images.csv").write_bytes(table(header, images))
    (folder / "deployments.csv").write_bytes(table(DEPLOYMENTS, sites))
    (folder / "projects.csv").write_bytes(table("project_id,image_license,project_admin", projects))
    if "sequences" in more:
        (folder / "sequences.csv").write_bytes(table(SEQUENCES, more["sequences"]))


def read(folder: Path, **settings: Any) -> Survey:
    return WildlifeInsights(kind="wildlife_insights", **settings).read(open_store(str(folder)))


def labels(survey: Survey) -> list[tuple[str, str, str]]:
    return [(row["media_id"], row["level"], row["label"]) for row in survey.observations.to_pylist()]


def test_fields_are_taken_as_they_stand(tmp_path: Path) -> None:
    row = image(1, **PUMA, number_of_objects="2", age="Adult", sex="Female", identified_by="Planted Person",
                cv_confidence="92", license="CC-BY-NC")  # fmt: skip
    write(tmp_path, [row])
    survey = read(tmp_path)
    medium, fact = survey.media.to_pylist()[0], survey.observations.to_pylist()[0]
    assert (medium["media_id"], medium["key"]) == ("i1", "deployment/77/prod/g1.jpg")
    assert (medium["deployment_id"], medium["place"], medium["event_id"]) == ("d1", "ridge", None)
    assert (medium["captured_at"], medium["utc_offset"]) == ("2020-01-05 06:07:08", None)
    assert (medium["licence"], medium["rights_holder"], medium["public"]) == ("CC-BY-NC", None, None)
    assert (fact["type"], fact["taxon"], fact["rank"], fact["count"]) == ("animal", "Puma concolor", "species", 2)
    assert json.loads(fact["lineage"]) == {
        "class": "Mammalia",
        "order": "Carnivora",
        "family": "Felidae",
        "genus": "Puma",
    }
    assert json.loads(fact["names"]) == {"eng": "Puma"}
    assert (fact["life_stage"], fact["sex"], fact["method"]) == ("adult", "female", "human")
    assert fact["confidence"] == pytest.approx(0.92)
    assert survey.refused.counts == {}


def test_nobodys_name_is_kept(tmp_path: Path) -> None:
    secret = "Planted Person"
    rows = [image(1, **PUMA, identified_by=secret, individual_animal_notes=secret, individual_id=secret), image(2)]
    write(tmp_path, rows, deployments=[{"project_id": "1", "deployment_id": "d1", "recorded_by": secret}])
    survey = read(tmp_path)
    kept = str([survey.media.to_pylist(), survey.observations.to_pylist(), survey.deployments.to_pylist()])
    assert secret not in kept + str(survey.refused)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("{path}", "copies/deployment/77/prod/g1.jpg"),
        ("{name}", "copies/g1.jpg"),
        ("{upload}/{name}", "copies/77/g1.jpg"),
        ("{image_id}.jpg", "copies/i1.jpg"),
        ("{deployment_id}/{filename}", "copies/d1/IMG_1.JPG"),
        ("{project_id}/{placename}/{filename}", "copies/1/ridge/IMG_1.JPG"),
    ],
)
def test_the_file_setting_says_where_a_copy_lies(tmp_path: Path, file: str, key: str) -> None:
    write(tmp_path, [image(1)])
    assert read(tmp_path, file=file, images_prefix="copies").media["key"].to_pylist() == [key]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("{file}", "no field {file}; there are {path}"),
        ("{path.__class__}", "no field {path.__class__}"),
        ("{0}", "no field {0}"),
        ("{}", "no field {}"),
        ("{deployment_id}/x.jpg", "it needs one of {path}, {name}, {image_id}, {filename}"),
        ("{path!r}", "no format or conversion"),
        ("{image_id:>9}", "no format or conversion"),
        ("{path", "expected '}'"),
    ],
)
def test_a_file_setting_that_names_no_file_is_a_users_mistake(file: str, words: str) -> None:
    survey = {"name": "s", "archive": "/a", "source": {"kind": "wildlife_insights", "file": file}}
    with pytest.raises(SettingsError, match="source") as refusal:
        parse(SurveySettings, survey)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "file", "reason"),
    [
        ({"location": "https://x/y.jpg"}, "{path}", "no_path"),
        ({"location": ""}, "{path}", "no_path"),
        ({"location": "gs://bucket/../../etc/passwd"}, "{path}", "parent_path"),
        ({"filename": "../x.jpg"}, "{filename}", "parent_path"),
        ({"filename": "/etc/passwd"}, "{filename}", "absolute_path"),
        ({"filename": "s3://b/x.jpg"}, "{filename}", "foreign_url"),
        ({"filename": ""}, "{deployment_id}/{filename}", "no_path"),
        ({"filename": "IMG_1.JPG"}, "{filename}", "duplicate_file"),
        ({"deployment_id": "d3"}, "{placename}/{filename}", "no_path"),
    ],
)
def test_an_image_that_names_no_file_is_refused_with_its_labels(
    tmp_path: Path, fields: dict[str, str], file: str, reason: str
) -> None:
    write(tmp_path, [image(1), image(2, **PUMA, **fields), image(2, **fields)])
    survey = read(tmp_path, file=file)
    assert survey.media["media_id"].to_pylist() == ["i1"] and survey.observations.num_rows == 1
    assert survey.refused.counts == {reason: 1, "observation_of_refused_image": 2}


def test_deployments_of_one_placename_are_one_place(tmp_path: Path) -> None:
    write(
        tmp_path, [image(1), image(2, deployment_id="d2"), image(3, deployment_id="d3"), image(4, deployment_id="d9")]
    )
    survey = read(tmp_path)
    assert survey.media["place"].to_pylist() == ["ridge", "ridge", "-2.269,-73.768", None]
    assert [tuple(row.values()) for row in survey.deployments.to_pylist()] == [
        ("d1", "ridge", "2020-01-01 00:00:00", "2020-02-01 23:59:59", None),
        ("d2", "ridge", None, None, None),
        ("d3", "-2.269,-73.768", None, "2020-03-01 12:00:00", None),
    ]
    assert survey.refused.counts == {"unknown_deployment": 1}


@pytest.mark.parametrize(
    ("shown", "start", "end", "expected"),
    [
        ("25/12/2019 06:00", "10/04/2019", "11/5/2019", ("2019-04-10 00:00:00", "2019-05-11 23:59:59")),
        ("2019-05-01 06:00:00", "10/04/2019", "25/12/2019", ("2019-04-10 00:00:00", "2019-12-25 23:59:59")),
        ("12/25/2019 06:00", "10/04/2019", "11/5/2019", ("2019-10-04 00:00:00", "2019-11-05 23:59:59")),
        ("5/5/2019 06:00", "10/04/2019", "", ("2019-10-04 00:00:00", None)),
        ("25/12/2019 06:00", "10/04/2019", "12/25/2019", (None, "2019-12-25 23:59:59")),
    ],
    ids=["day first", "day first by deployments", "month first", "nobody tells", "both"],
)
def test_dates_of_deployments_have_the_order_of_their_surveys_media(
    tmp_path: Path, shown: str, start: str, end: str, expected: tuple[str | None, str | None]
) -> None:
    site = {"project_id": "1", "deployment_id": "d1", "start_date": start, "end_date": end}
    write(tmp_path, [image(1, timestamp=shown), image(2, timestamp="1/2/2019 06:00")], deployments=[site])
    survey = read(tmp_path)
    assert survey.deployments.schema == DEPLOYMENTS_TABLE
    (row,) = survey.deployments.to_pylist()
    assert (row["start"], row["end"]) == expected
    both = expected[0] is None
    assert survey.refused.counts == ({"ambiguous_time": 2} if both else {})
    assert survey.refused.examples == ({"ambiguous_time": ["i2", "deployment d1"]} if both else {})


def test_a_bundle_of_several_projects_keeps_their_deployments_and_licences_apart(tmp_path: Path) -> None:
    sites = [{"project_id": project, "deployment_id": "d1", "placename": f"p{project}"} for project in "12"]
    projects = [{"project_id": "1", "image_license": "CC-BY"}, {"project_id": "2", "image_license": "CC0"}]
    write(tmp_path, [], deployments=sites, projects=projects)
    (tmp_path / "images.csv").unlink()
    for project in "12":
        (tmp_path / f"images_{project}.csv").write_bytes(table(IMAGES, [image(int(project), project_id=project)]))
    media = read(tmp_path).media.to_pylist()
    assert [(row["deployment_id"], row["place"], row["licence"]) for row in media] == [
        ("1/d1", "p1", "CC-BY"),
        ("2/d1", "p2", "CC0"),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (PUMA, ("animal", "Puma concolor", "species", "Puma")),
        ({**PUMA, "species": "concolor couguar"}, ("animal", "Puma concolor couguar", "subspecies", "Puma")),
        ({**PUMA, "species": ""}, ("animal", "Puma", "genus", None)),  # "Puma" is then no vernacular of its own
        ({**PUMA, "species": "sp.", "common_name": "Puma Species"}, ("animal", "Puma", "genus", None)),
        ({**PUMA, "species": "cf. concolor"}, ("animal", "Puma", "genus", None)),
        ({**PUMA, "genus": "puma", "species": "CONCOLOR"}, ("animal", "Puma concolor", "species", "Puma")),
        (
            {"class": "Aves", "family": "Cracidae", "common_name": "Cracidae Family"},
            ("animal", "Cracidae", "family", None),
        ),
        ({"class": "Aves", "common_name": "Bird"}, ("animal", "Aves", "class", "Bird")),
        ({"class": "Mammalia", "order": "Unknown", "common_name": "Mammal"}, ("animal", "Mammalia", "class", "Mammal")),
        ({"class": "Mammalia", "genus": "No CV Result"}, ("animal", "Mammalia", "class", None)),
        ({"common_name": "Tinamou"}, ("animal", None, None, "Tinamou")),
        ({"common_name": "Human-Camera Trapper"}, ("human", None, None, None)),
        ({"genus": "Homo", "species": "sapiens", "common_name": "Visitor"}, ("human", None, None, None)),
        ({"common_name": "Motorized Vehicle"}, ("vehicle", None, None, None)),
        ({"common_name": "No CV Result", "class": "No CV Result"}, ("unclassified", None, None, None)),
        ({"common_name": "Unknown"}, ("unknown", None, None, None)),
        ({}, ("unknown", None, None, None)),
        ({"is_blank": "1"}, ("blank", None, None, None)),
        ({"is_blank": "1", "common_name": "Blank"}, ("blank", None, None, None)),
        ({"is_blank": "1", "common_name": "No CV Result"}, ("blank", None, None, None)),
        ({"uncertainty": "Don't know", **PUMA}, ("animal", "Puma concolor", "species", "Puma")),
    ],
)
def test_labels_keep_their_true_rank(tmp_path: Path, fields: dict[str, str], expected: Any) -> None:
    write(tmp_path, [image(1, **fields)])
    survey = read(tmp_path)
    fact = survey.observations.to_pylist()[0]
    name = json.loads(fact["names"])["eng"] if fact["names"] else None
    assert (fact["type"], fact["taxon"], fact["rank"], name) == expected
    assert survey.refused.counts == {}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"is_blank": "1", **PUMA}, "animal"),
        ({"is_blank": "1", "common_name": "Human"}, "human"),
        ({"is_blank": "0", "common_name": "Blank"}, "blank"),
    ],
)
def test_where_is_blank_contradicts_the_name_the_name_counts(tmp_path: Path, fields: dict[str, str], kind: str) -> None:
    write(tmp_path, [image(1, **fields)])
    survey = read(tmp_path)
    assert survey.observations["type"].to_pylist() == [kind]
    assert survey.refused.counts == {"blank_disagreement": 1}


@pytest.mark.parametrize(
    ("fields", "count", "counted"),
    [
        ({**PUMA, "number_of_objects": "many"}, None, 1),
        ({**PUMA, "number_of_objects": "0"}, None, 1),
        ({**PUMA, "number_of_objects": ""}, None, 0),
        ({**PUMA, "number_of_objects": "3"}, 3, 0),
        ({"is_blank": "1", "number_of_objects": "0"}, None, 0),  # of nothing that is what there is
    ],
)
def test_a_count_that_cannot_be_read_is_counted(
    tmp_path: Path, fields: dict[str, str], count: int | None, counted: int
) -> None:
    write(tmp_path, [image(1, **fields)])
    survey = read(tmp_path)
    assert survey.observations["count"].to_pylist() == [count]
    assert survey.refused.counts == ({"bad_count": 1} if counted else {})
    assert survey.refused.examples == ({"bad_count": ["image i1"]} if counted else {})


def test_a_species_without_its_genus_names_no_species(tmp_path: Path) -> None:
    write(tmp_path, [image(1, **{**PUMA, "genus": ""})])
    survey = read(tmp_path)
    assert survey.observations.select(["taxon", "rank"]).to_pylist() == [{"taxon": "Felidae", "rank": "family"}]
    assert survey.refused.counts == {"species_without_genus": 1}


@pytest.mark.parametrize(
    ("who", "method"),
    [("Computer Vision", "machine"), ("computer vision model", "machine"), ("Ai Weiwei", "human"), ("", None)],
)
def test_machines_are_told_from_people(tmp_path: Path, who: str, method: str | None) -> None:
    write(tmp_path, [image(1, **PUMA, identified_by=who)])
    assert read(tmp_path).observations["method"].to_pylist() == [method]


def test_several_rows_of_an_image_are_several_labels_and_a_repeated_row_is_none(tmp_path: Path) -> None:
    deer = {"genus": "Mazama", "species": "americana", "common_name": "Red Brocket"}
    one, other = image(1, **PUMA), image(1, **deer)
    write(tmp_path, [one, image(2), other, one, image(1, **deer, individual_id="B")])
    survey = read(tmp_path)
    assert survey.media["media_id"].to_pylist() == ["i1", "i2"]
    assert [row[2] for row in labels(survey)] == ["Puma", "unknown", "Red Brocket", "Red Brocket"]
    assert survey.refused.counts == {"duplicate_row": 1}


def test_sequence_labels_are_of_the_event_and_count_once(tmp_path: Path) -> None:
    images = [image(number, **PUMA, sequence_id="s1") for number in (1, 2)]
    images += [image(3, **PUMA, sequence_id="s2"), image(4, **PUMA)]
    sequences = [
        {"project_id": "1", "sequence_id": "s1", "is_blank": "0", "group_size": "3", **PUMA},
        {"project_id": "1", "sequence_id": "s9", "is_blank": "1"},
    ]
    write(tmp_path, images, sequences=sequences)
    survey = read(tmp_path)
    assert survey.media["event_id"].to_pylist() == ["s1", "s1", "s2", None]
    assert sorted(labels(survey)) == [
        ("i1", "event", "Puma"),
        ("i2", "event", "Puma"),
        ("i3", "event", "Puma"),  # its sequence has no row: the image's own, which was given to the sequence
        ("i4", "media", "Puma"),
    ]
    assert {row["count"] for row in survey.observations.to_pylist() if row["media_id"] in ("i1", "i2")} == {3}
    assert survey.refused.counts == {"label_repeats_sequence": 2, "sequence_without_images": 1}


def test_midnights_are_left_to_the_clock_checks_and_bad_times_are_counted(tmp_path: Path) -> None:
    times = ["2020-01-05 00:00:00", "2020-01-06 00:00:00", "1970-01-01 00:00:00", "soon", ""]
    write(tmp_path, [image(number, timestamp=time) for number, time in enumerate(times)])
    survey = read(tmp_path)
    found = survey.media["captured_at"].to_pylist()
    assert found == ["2020-01-05 00:00:00", "2020-01-06 00:00:00", None, None, None]
    assert only_dates(survey)
    assert survey.refused.counts == {"year_out_of_range": 1, "unreadable_time": 1}


def only_dates(survey: Survey) -> bool:
    """Whether every time that is known is a date alone."""
    camera, times = cameras.codes(cameras.names(survey.media)), cameras.seconds(survey.media["captured_at"])
    return bool((date_only(camera, times) == ~np.isnan(times)).all())


def test_latin1_and_ragged_rows_are_counted(tmp_path: Path) -> None:
    write(tmp_path, [image(1)])
    sites = table(DEPLOYMENTS, [{"project_id": "1", "deployment_id": "d1", "placename": "Cañón"}])
    (tmp_path / "deployments.csv").write_bytes(sites.decode().encode("latin-1") + b"1,d5\n")
    survey = read(tmp_path)
    assert survey.media["place"].to_pylist() == ["Cañón"]
    assert survey.refused.counts == {"latin1_file": 1, "ragged_row": 1}


def test_rows_without_ids_and_repeated_deployments_are_counted(tmp_path: Path) -> None:
    sites = [{"project_id": "1", "deployment_id": name} for name in ("d1", "d1", "")]
    write(tmp_path, [image(1), image(2, image_id=""), image(3, image_id="")], deployments=sites)
    survey = read(tmp_path)
    assert survey.media.num_rows == 1
    assert survey.refused.counts == {"duplicate_deployment": 1, "no_id": 3}


def test_a_bundle_in_a_folder_or_as_downloaded(tmp_path: Path) -> None:
    write(tmp_path / "bundle", [image(1, **PUMA)])
    (tmp_path / "bundle" / "images").mkdir()
    (tmp_path / "bundle" / "images" / "images.csv").write_text("not a table of the bundle")
    folder = read(tmp_path, bundle="bundle")
    with zipfile.ZipFile(tmp_path / "wi.zip", "w") as made:
        for path in (tmp_path / "bundle").glob("*.csv"):
            made.write(path, path.name)
    packed = read(tmp_path, bundle="wi.zip")
    assert packed.media.equals(folder.media) and packed.observations.equals(folder.observations)


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=r"no images\.csv or images_<project>\.csv in this folder"):
        read(tmp_path, bundle="nowhere")
    write(tmp_path, [image(1)])
    (tmp_path / "images.csv").write_text("image,deployment_id\n1,2\n")
    with pytest.raises(DataRefused, match=r"images\.csv: the table lacks the column 'image_id'"):
        read(tmp_path)
    write(tmp_path, [image(1, location="")])
    with pytest.raises(DataRefused, match=r"none of its 1 images can be used \(no_path 1"):
        read(tmp_path)
    (tmp_path / "deployments.csv").unlink()
    with pytest.raises(DataRefused, match=r"no deployments\.csv"):
        read(tmp_path)


def test_a_copy_that_is_not_there_is_a_row_of_the_ledger(tmp_path: Path, root: Store) -> None:
    archive = tmp_path / "archive"
    sites = [{"project_id": "1", "deployment_id": f"d{number}", "placename": f"p{number}"} for number in range(6)]
    images = [image(number, **PUMA, deployment_id=f"d{number % 6}") for number in range(12)]
    write(archive, images, deployments=sites)
    for number in range(1, 12):
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), (number * 9, 99, 200 - number * 9)).save(stream, "JPEG")
        open_store(str(archive)).put(f"d{number % 6}/IMG_{number}.JPG", stream.getvalue())
    source = {"kind": "wildlife_insights", "file": "{deployment_id}/{filename}"}
    survey = {"name": "wi", "archive": str(archive), "source": source}
    document = {"name": "wi", "surveys": [survey], "pixels": {"size": 16, "min_side": 4}, "max_bad_share": 0.2}
    dataset = prepare(parse(DataSettings, document), root)
    assert dataset.document["surveys"][0]["counts"] == {"ok": 11, "rejected/metadata": 3, "rejected/missing": 1}


@pytest.mark.data
def test_the_real_bundle(data_dir: Path) -> None:
    survey = read(data_dir / "wildlife-insights" / "cristales")
    facts = survey.observations.to_pylist()
    ranks = [row["rank"] for row in facts]
    assert (survey.media.num_rows, len(facts), survey.deployments.num_rows) == (4950, 4950, 19)
    counts = {rank: ranks.count(rank) for rank in set(ranks)}
    assert counts == {"species": 4238, "subspecies": 373, "family": 240, "order": 3, "class": 96}
    assert all(" " in row["taxon"] for row in facts if row["rank"] in ("species", "subspecies"))
    assert len({row["taxon"] for row in facts}) == 31
    assert sum(row["names"] is None for row in facts) == 240  # "Cracidae Family", "Columbidae Family"
    assert {row["method"] for row in facts} == {"human"} and {row["count"] for row in facts} == {1}
    assert {row["sex"] for row in facts} | {row["life_stage"] for row in facts} == {None}
    assert len(set(survey.media["place"].to_pylist())) == 19
    times = survey.media["captured_at"].to_pylist()
    assert all(time.endswith("00:00:00") for time in times) and only_dates(survey)
    spans = {row["deployment_id"]: (row["start"], row["end"]) for row in survey.deployments.to_pylist()}
    owners = survey.media["deployment_id"].to_pylist()
    outside = sum(not spans[owner][0] <= time <= spans[owner][1] for owner, time in zip(owners, times, strict=True))
    assert outside == 0
    assert set(survey.media["licence"].to_pylist()) == {"CC-BY-NC"}
    assert survey.refused.counts == {}
    assert "Recorder" not in str(facts)


def test_a_time_that_cannot_be_keeps_its_fault(tmp_path: Path) -> None:
    write(tmp_path, [image(1, timestamp="1970-01-01 00:03:00"), image(2, timestamp="noon"), image(3)])
    columns = read(tmp_path).media.select(["captured_at", "time_fault", "time_shown"]).to_pylist()
    assert [tuple(row.values()) for row in columns] == [
        (None, "year_out_of_range", "1970-01-01 00:03:00"),
        (None, "unreadable_time", None),
        ("2020-01-05 06:07:08", None, None),
    ]
