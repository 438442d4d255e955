"""The ledger has one row for every file that the archive listed, or nothing is committed."""

from pathlib import Path
from typing import Any

import pytest

from infra.storage import Store, open_store
from pipelines.errors import DataRefused
from pipelines.prepare.ledger import check_complete, write
from pipelines.prepare.listing import list_survey
from pipelines.prepare.parts import LEDGER
from tests.pipelines.surveys import coco_settings, write_coco
from tests.pipelines.tables import table
from tests.pipelines.test_archive import tar_of
from tests.pipelines.test_prepare_flow import image

ROWS: dict[str, list[Any]] = {
    "key": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
    "etag": ["1", "2", None, "4"],
    "status": ["ok", "rejected", "rejected", "gone"],
}
"""Two files that are listed, one that is only named, and one of an earlier listing."""


def test_rows_of_listed_files_are_counted_against_the_listing(root: Store) -> None:
    ledger = {"one": table(LEDGER, ROWS)}
    parts = write(root, ledger, [])
    check_complete(ledger, parts, {"one": 2})
    for wrong in ({"one": 1}, {"one": 3}, {"one": 2, "two": 1}, {}):
        with pytest.raises(AssertionError, match=r"rows for .* listed files; nothing is committed"):
            check_complete(ledger, parts, wrong)


def test_no_file_has_two_rows(root: Store) -> None:
    ledger = {"one": table(LEDGER, ROWS | {"key": ["a.jpg", "a.jpg", "c.jpg", "d.jpg"]})}
    with pytest.raises(AssertionError, match="listed files"):
        check_complete(ledger, write(root, ledger, []), {"one": 2})


def test_the_parts_hold_all_rows(root: Store) -> None:
    ledger = {"one": table(LEDGER, ROWS)}
    (part,) = write(root, ledger, [])
    for parts in ([], [part | {"rows": 3}]):
        with pytest.raises(AssertionError, match=r"parts hold .* of .* rows; nothing is committed"):
            check_complete(ledger, parts, {"one": 2})


def test_two_files_of_one_key_are_refused_and_none_is_lost_in_silence(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "archive"))
    rows = [{"id": "1", "file_name": "x.tar!/a.jpg", "category": 1}]
    write_coco(store, rows, {"x.tar": tar_of({"a.jpg": image(1)}), "x.tar!/a.jpg": image(2)})
    data = coco_settings(store.url)
    with pytest.raises(DataRefused, match=r"two files have the key 'x\.tar!/a\.jpg'; rename the one that lies beside"):
        list_survey(data, data.surveys[0])
