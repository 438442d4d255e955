"""Corrections as people write them: every encoding and shape a spreadsheet leaves, and what each row says."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.sources.corrections import Corrections
from pipelines.sources.handwritten import turned
from pipelines.sources.rows import SurveyRows
from pipelines.sources.schema import Survey
from pipelines.spreadsheets import bare, safe

ROWS = """key,media_id,type,scientific_name,common_name,count,life_stage,sex,behavior,note
img/a.jpg,,animal,Vulpes vulpes,red fox,2,Adult,female,foraging|vigilance,seen by A. Person
img/b.jpg,,,,,,,,,not looked at
,id-c,blank,,,,,,,
"""


def survey() -> Survey:
    rows = SurveyRows()
    for letter in "abcd":
        rows.media.add(media_id=f"id-{letter}", key=f"img/{letter}.jpg")
    rows.observations.add(
        media_id="id-d", level="media", type="animal", label="red fox", taxon="Vulpes vulpes", rank="species",
        lineage='{"class": "Mammalia"}', names='{"eng": "red fox", "fra": "renard roux"}', origin="test",
    )  # fmt: skip
    return rows.survey("test", 4)


def overlay(folder: Path, content: str | bytes, below: Survey | None = None, **settings: Any) -> Survey:
    (folder / "review.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    source = Corrections(kind="corrections", path="review.csv", **settings)
    return source.read(open_store(str(folder)), below or survey())


def corrected(found: Survey) -> dict[str, dict[str, Any]]:
    return {row["media_id"]: row for row in found.observations.to_pylist() if row["origin"] == "corrections"}


def test_a_row_is_a_label_of_the_frame_by_a_person(tmp_path: Path) -> None:
    found = overlay(tmp_path, ROWS)
    rows = corrected(found)
    assert set(rows) == {"id-a", "id-c"} and found.refused.counts == {}
    fox = rows["id-a"]
    assert (fox["type"], fox["taxon"], fox["rank"], fox["count"]) == ("animal", "Vulpes vulpes", "species", 2)
    assert (fox["life_stage"], fox["sex"], fox["behavior"]) == ("adult", "female", "foraging|vigilance")
    assert (fox["level"], fox["method"], fox["confidence"]) == ("media", "human", None)
    assert rows["id-c"]["type"] == "blank" and rows["id-c"]["taxon"] is None
    assert "Person" not in repr(found.observations.to_pylist())


def test_what_the_survey_knows_of_a_taxon_completes_it(tmp_path: Path) -> None:
    table = "key,scientific_name,common_name\nimg/a.jpg,vulpes vulpes,\nimg/b.jpg,,Red Fox\nimg/c.jpg,,vixen\n"
    rows = corrected(overlay(tmp_path, table))
    for media_id in ("id-a", "id-b"):
        assert (rows[media_id]["taxon"], rows[media_id]["rank"]) == ("Vulpes vulpes", "species")
        assert json.loads(rows[media_id]["lineage"]) == {"class": "Mammalia"}
        assert json.loads(rows[media_id]["names"])["fra"] == "renard roux"
    assert rows["id-c"]["taxon"] is None and json.loads(rows["id-c"]["names"]) == {"eng": "vixen"}


LATIN = "key;count;Scientific Name;Common Name;Note\nimg/a.jpg;1;Lynx lynx;gato montés;año\n"


@pytest.mark.parametrize(
    "content",
    [
        LATIN.encode(),
        b"\xef\xbb\xbf" + LATIN.encode(),
        LATIN.encode("latin-1"),
        LATIN.encode("cp1252"),
        LATIN.replace(";", "\t").encode("utf-16"),
        LATIN.replace(";", ",").replace("\n", "\r\n").encode(),
        ("sep=;\n" + LATIN).encode(),
        ("Review of autumn 2026;;;;\n;;;;\n" + LATIN + ";;;;\nKey;count;scientific_name;common_name;note\n").encode(),
        LATIN.replace("Scientific Name", "scientificName").replace("Common Name", "COMMON_NAME ").encode(),
    ],
)
def test_encodings_separators_and_stray_rows(tmp_path: Path, content: bytes) -> None:
    found = overlay(tmp_path, content, language="spa")
    row = corrected(found)["id-a"]
    assert row["taxon"] == "Lynx lynx" and json.loads(row["names"]) == {"spa": "gato montés"} and row["count"] == 1
    assert found.refused.counts in ({}, {"no_such_media": 1})


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    order=st.permutations(range(4)), delimiter=st.sampled_from(",;\t"), encoding=st.sampled_from(["utf-8", "cp1252"])
)
def test_the_order_of_columns_does_not_matter(tmp_path: Path, order: list[int], delimiter: str, encoding: str) -> None:
    table = [["key", "type", "common_name", "remarks"], ["img/a.jpg", "animal", "grèbe huppé", "x"]]
    content = "\n".join(delimiter.join(row[column] for column in order) for row in table)
    row = corrected(overlay(tmp_path, content.encode(encoding)))["id-a"]
    assert json.loads(row["names"]) == {"eng": "grèbe huppé"} and row["type"] == "animal"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("img/z.jpg,,animal,,", "no_such_media"),
        (",,animal,,", "no_media_named"),
        ("01/02/2026,,animal,,", "turned_by_spreadsheet"),
        (",2-Jan,animal,,", "turned_by_spreadsheet"),
        (",1.23E+11,animal,,", "turned_by_spreadsheet"),
        ("img/a.jpg,id-b,animal,,", "key_and_media_id_differ"),
        ("img/a.jpg,,deer,,", "unknown_type"),
        ("img/a.jpg,,blank,Vulpes vulpes,", "contradicting_labels"),
        ("img/a.jpg,,unknown,Vulpes vulpes,", "contradicting_labels"),
        ("img/a.jpg,,animal,Homo sapiens,", "contradicting_labels"),
        ("img/a.jpg,,,#REF!,", "bad_label"),
        ("img/a.jpg,,,,3", "details_without_label"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted(tmp_path: Path, row: str, reason: str) -> None:
    table = f"key,media_id,type,scientific_name,count\nimg/d.jpg,,blank,,\n{row}\n"
    found = overlay(tmp_path, table)
    assert set(corrected(found)) == {"id-d"} and found.refused.counts == {reason: 1}
    assert "line 3" in found.refused.examples[reason][0]


@pytest.mark.parametrize("count", ["0", "-1", "2-Jan", "01/02/2026", "some", "1.5"])
def test_a_count_that_a_spreadsheet_spoilt_leaves_the_label(tmp_path: Path, count: str) -> None:
    found = overlay(tmp_path, f"key,type,count\nimg/a.jpg,animal,{count}\n")
    assert corrected(found)["id-a"]["count"] is None and found.refused.counts == {"bad_count": 1}


@pytest.mark.parametrize(
    ("cell", "is_turned"),
    [
        ("2-Jan", True), ("Jan-26", True), ("01/02/2026", True), ("2026-02-01", True), ("1.23E+11", True),
        ("img/2026-02-01/a.jpg", False), ("IMG_0001.JPG", False), ("id-7", False), ("12345", False), ("", False),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_turned(cell: str, is_turned: bool) -> None:
    assert turned(cell) is is_turned


@pytest.mark.parametrize(
    ("cells", "kind", "rank"),
    [
        (",Vulpes vulpes,", "animal", "species"),
        (",VULPES VULPES,", "animal", "species"),
        (",Canis sp.,", "animal", "genus"),
        ("animal,,", "animal", None),
        ("Animal,,unknown", "animal", None),
        ("empty,,", "blank", None),
        (",,person", "human", None),
        ("Vehicle,,car", "vehicle", None),
        ("unknown,,", "unknown", None),
        ("Persona,,", "human", None),
        ("human/vehicle,,", "human", None),
        ("vacío,,", "blank", None),
        ("Mensch,Homo sapiens sapiens,", "human", None),
        (",Vulpes vulpes (Linnaeus),", "animal", "species"),
        (",Vulpes vulpes ssp. fulva,", "animal", "subspecies"),
    ],
)
def test_labels_in_words_people_use(tmp_path: Path, cells: str, kind: str, rank: str | None) -> None:
    row = corrected(overlay(tmp_path, f"key,type,scientific_name,common_name\nimg/a.jpg,{cells}\n"))["id-a"]
    assert (row["type"], row["rank"]) == (kind, rank)


def test_words_that_only_the_writers_know(tmp_path: Path) -> None:
    table = "key,type,common_name\nimg/a.jpg,MTU,\nimg/b.jpg,mnyama,mbweha\nimg/c.jpg,,kati\nimg/d.jpg,dubwana,\n"
    found = overlay(tmp_path, table, types={"mtu": "human", "Mnyama": "animal", "kati": "blank"}, language="swa")
    assert {name: row["type"] for name, row in corrected(found).items()} == {
        "id-a": "human", "id-b": "animal", "id-c": "blank"
    }  # fmt: skip
    assert found.refused.counts == {"unknown_type": 1}
    assert [(row["key"], row["kind"]) for row in found.signs.to_pylist()] == [("img/a.jpg", "human")]


def test_the_later_row_of_a_file_counts_and_an_empty_one_says_nothing(tmp_path: Path) -> None:
    table = "key,media_id,type\nimg/a.jpg,,animal\n,id-a,blank\nimg/a.jpg,,\n"
    found = overlay(tmp_path, table)
    assert corrected(found)["id-a"]["type"] == "blank" and found.refused.counts == {"superseded_row": 1}


def test_frames_that_were_looked_at_together_share_the_names_alone(tmp_path: Path) -> None:
    """A row of a file's own goes before, wherever it stands; a person closes all of them."""
    head, *rows = ["also,key,type,scientific_name,count",
                   "id-b | img\\c.jpg|img/z.jpg,img/a.jpg,,Vulpes vulpes,2", ",img/b.jpg,blank,,"]  # fmt: skip
    for content in ("\n".join([head, *rows]), "\n".join([head, *rows[::-1]])):
        found = overlay(tmp_path, content)
        said = corrected(found)
        assert {name: (row["taxon"], row["count"]) for name, row in said.items()} == {
            "id-a": ("Vulpes vulpes", 2), "id-b": (None, None), "id-c": ("Vulpes vulpes", None)
        }  # fmt: skip
        assert found.refused.counts == {"no_such_media": 1}
    found = overlay(tmp_path, "key,also,type\nimg/a.jpg,id-c|img/elsewhere.jpg,human\n")
    closed = {(row["key"], row["kind"]) for row in found.signs.to_pylist()}
    assert closed >= {("img/a.jpg", "human"), ("img/c.jpg", "human"), ("img/elsewhere.jpg", "human")}


def test_cells_that_were_made_safe_for_spreadsheets_mean_what_they_were(tmp_path: Path) -> None:
    keys = ["=cam/a.jpg", "'=cam/a.jpg", "-1.jpg", "@b.jpg", "it's.jpg", "'quoted'.jpg"]
    assert [bare(safe(key)) for key in keys] == keys and len({safe(key) for key in keys}) == len(keys)
    rows = SurveyRows()
    for n, key in enumerate(keys):
        rows.media.add(media_id=str(n), key=key)
    table = (
        "key,also,type\n" + "".join(f"{safe(key)},,blank\n" for key in keys[:3]) + f"{keys[4]},{safe(keys[3])},blank\n"
    )
    found = overlay(tmp_path, table, rows.survey("test", len(keys)))
    assert set(corrected(found)) == {"0", "1", "2", "3", "4"} and found.refused.counts == {}


def test_a_later_overlay_replaces_only_the_files_it_names(tmp_path: Path) -> None:
    first = overlay(tmp_path, "key,type\nimg/a.jpg,blank\nimg/b.jpg,blank\n")
    rows = corrected(overlay(tmp_path, "key,type\nimg/b.jpg,animal\n", first))
    assert {name: row["type"] for name, row in rows.items()} == {"id-a": "blank", "id-b": "animal"}


def test_a_file_of_several_surveys_says_which_is_meant(tmp_path: Path) -> None:
    table = "survey,key,type\nautumn,img/a.jpg,blank\nspring,img/b.jpg,blank\n"
    with pytest.raises(DataRefused, match=r"review\.csv: it corrects 2 surveys \(autumn, spring\).*`survey`"):
        overlay(tmp_path, table)
    found = overlay(tmp_path, table, survey="spring")
    assert set(corrected(found)) == {"id-b"} and found.refused.counts == {"row_of_other_survey": 1}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("key,type\nother/a.jpg,blank\n", r"none of its 1 labelled rows is about a file of this survey.*other/a\.jpg"),
        (
            "keys,type\nimg/a.jpg,blank\n",
            r"names a column key or media_id \(its first row: keys, type\); is 'keys' meant",
        ),
        ("", "names a column key or media_id"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file"),
        ('key,type,note\nimg/a.jpg,blank,"open\nimg/b.jpg,blank,\n', r"line 3: not readable as CSV"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(DataRefused, match=told) as refused:
        overlay(tmp_path, content)
    assert "\n" not in str(refused.value)


def test_a_table_without_any_label_changes_nothing(tmp_path: Path) -> None:
    below = survey()
    found = overlay(tmp_path, "key,type,note\nother.jpg,,\nimg/a.jpg,,later\n", below)
    assert found.observations.equals(below.observations) and found.refused.counts == {}
