"""What a version holds stays what it was before its planning went by columns: ids and digests recorded then."""

import os
import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.storage import Store
from pipelines.prepare import items
from pipelines.prepare.digests import digest
from tests.pipelines.surveys import coco_settings, prepare, write_coco

MODIFIED = 1_700_000_000_000_000_000


def picture(number: int) -> bytes:
    """A BMP of 16 x 16 pixels in one colour, whose bytes no library decides."""
    pixels = bytes([number % 251, number * 7 % 241, number * 13 % 239]) * 256
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54) + header + pixels


def write_archive(archive: Store) -> None:
    """Folders and loose files, copies, a person and its copy, files that nothing names, and a missing one."""
    files = {f"{n % 5}/{n:02}.bmp" if n % 4 else f"{n:02}.bmp": picture(n // 2) for n in range(60)}
    images: list[dict[str, Any]] = [
        {
            "id": f"id{key}",
            "file_name": key,
            "category": n % 3,
            "location": f"place {n % 7}",
            "seq_id": f"{n % 7}-{n // 20}",
            "datetime": f"2024-05-{n % 28 + 1:02} 1{n % 10}:00:{n:02}",
        }
        for n, key in enumerate(files)
        if n % 9
    ]
    images += [{"id": "lost", "file_name": "lost.bmp", "category": 1}]
    images += [{"id": "somebody", "file_name": "somebody.bmp", "category": 3}]
    files |= {
        "somebody.bmp": picture(999),
        "copy of somebody.bmp": picture(999),
        "notes.txt": b"none",
        "bad.bmp": b"BM",
    }
    write_coco(archive, images, files, ("red fox", "Vulpes vulpes", "human"))
    for path in Path(archive.url).rglob("*.*"):
        os.utime(path, ns=(MODIFIED, MODIFIED))


def test_ids_and_digests_of_before(archive: Store, root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "cut", partial(items.cut, most=8))
    write_archive(archive)
    dataset = prepare(coco_settings(archive.url, max_bad_share=0.2), root)
    document, (survey,) = dataset.document, dataset.document["surveys"]
    columns = [
        name
        for name in dataset.ledger().column_names
        if name not in ("seen_at", "prepare_id", "last_modified", "look", "size_differs", "event")
    ]
    ledger = [
        [value.hex() if isinstance(value, bytes) else value for value in row.values()]
        for row in dataset.ledger(columns).to_pylist()
    ]
    records = dataset.records(["sample_id", "split", "split_reason", "event_id", "place", "clock_trusted"])
    found = {
        "listing": survey["listing"][:16],
        "items": digest(sorted(part["item"] for part in document["pixels"]))[:16],
        "ledger": digest(ledger)[:16],
        "split": digest(document["split"])[:16],
        "records": digest(sorted(records.to_pylist(), key=lambda row: row["sample_id"]))[:16],
        "counts": digest(survey["counts"], survey["unused"], survey["clock_flags"], document["counts"])[:16],
    }
    assert found == {
        "listing": "6be375a3bdb1059d",
        "items": "ad4a040ca072796f",
        "ledger": "35c76890e1091380",
        "split": "9a2169435b215158",
        "records": "0614c22d74eddac4",
        "counts": "17c7af38b6398c9f",
    }
