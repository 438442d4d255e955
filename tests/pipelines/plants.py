"""What an archive holds of people and places, planted where cameras, programs and people leave it; and a search for it.

Every plant is looked for in the archive itself (else its absence elsewhere would prove nothing) and in all that is made
of it. Each stands in one place of the archive, so that a find says where it came from.
"""

import csv
import io
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow.parquet as pq
from PIL import Image

from infra.storage import Store
from pipelines.demo.files import PLANTED_LATITUDE, PLANTED_LONGITUDE, PLANTED_NAME
from pipelines.demo.survey import DETECTOR_KEY

LATITUDE, LONGITUDE = "44.8271828", "-7.6180339"
"""Of all deployments; the first digits count as well."""


@dataclass(frozen=True)
class Plant:
    """Texts that stand in the archive's bytes, at `where`, and may stand nowhere else."""

    where: str
    texts: tuple[str, ...]


_EXIF = {
    0x013B: "Artist Aurelio Qvistgaard",
    0x8298: "Copyright Brunhild Qvistgaard",
    0x010E: "Description Casimir Qvistgaard",
    0x013C: "host-of-dagmar-qvistgaard",
}
_EXIF_MORE = {
    0xA430: "Owner Edeltraud Qvistgaard",
    0xA431: "SN-BODY-7741093",
    0xA435: "SN-LENS-7741094",
    0x9286: b"ASCII\0\0\0comment of Fridolin Qvistgaard",
    0x927C: b"maker-note-of-gunhild-qvistgaard",
}
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    'dc:creator="Hildegund Qvistgaard" exif:GPSLatitude="45,31.4159265N"/></rdf:RDF></x:xmpmeta>'
)
_COMMENT, _BYLINE, _TAIL = "comment of Ignatius Qvistgaard", "By-line Jorunn Qvistgaard", "tail-of-kasimir-qvistgaard"
_COLUMNS: dict[str, dict[str, str]] = {
    "deployments.csv": {
        "setupBy": PLANTED_NAME,
        "latitude": LATITUDE,
        "longitude": LONGITUDE,
        "cameraID": "SN-CAMERA-7741095",
        "deploymentComments": "key is with Leopoldine Qvistgaard",
        "recordedBy": "Melchior Qvistgaard",
    },
    "media.csv": {"exifData": '{"SerialNumber": "SN-MEDIA-7741096"}', "mediaComments": "shown to Notburga Qvistgaard"},
    "observations.csv": {
        "classifiedBy": "Ottokar Qvistgaard",
        "observationComments": "looks like Philomena Qvistgaard",
        "observationTags": "told-by:Quirin Qvistgaard",
    },
}
"""Columns of the package's tables; those that it lacks are added."""
_RAGGED = f"dx,Tancred Qvistgaard,{LATITUDE},{LONGITUDE},of more cells than the header has" + ",x" * 40
"""A row of the deployments that is refused: its cells are not those of their columns."""
_CONTACT = {"title": "Roswitha Qvistgaard", "email": "roswitha@qvistgaard.example", "role": "contact"}
_CITATION = "Sigismund Qvistgaard (2026), private communication"
_USER = "C:/Users/theodora.qvistgaard/results.json"

PLANTS = (
    Plant("EXIF of the generated survey", (PLANTED_NAME, PLANTED_NAME.split()[1])),
    *(Plant(f"EXIF {tag:#06x}", (text,)) for tag, text in _EXIF.items()),
    *(
        Plant(f"EXIF {tag:#06x}", (text if isinstance(text, str) else text.removeprefix(b"ASCII\0\0\0").decode(),))
        for tag, text in _EXIF_MORE.items()
    ),
    Plant("XMP", ("Hildegund Qvistgaard", "45,31.4159265")),
    Plant("IPTC", (_BYLINE,)),
    Plant("JPEG comment", (_COMMENT,)),
    Plant("behind the image", (_TAIL,)),
    *(
        Plant(f"{name} {column}", (text,))
        for name, own in _COLUMNS.items()
        for column, text in own.items()
        if column != "exifData"
    ),
    Plant("deployments.csv ragged row", ("Tancred Qvistgaard",)),
    Plant("media.csv exifData", ("SN-MEDIA-7741096",)),
    Plant("datapackage.json", (_CONTACT["title"], _CONTACT["email"], _CITATION)),
    Plant(DETECTOR_KEY, (_USER, "theodora.qvistgaard")),
)
ANYWHERE = ("qvistgaard", LATITUDE[:7], LONGITUDE[:7], str(PLANTED_LATITUDE), str(PLANTED_LONGITUDE))
"""Parts of them, whatever their case; the last two stand in EXIF as degrees, minutes and seconds."""


def plant(store: Store) -> None:
    """Plants them all in a generated survey: in every image, which stays the same to the pixel, and in the package."""
    for entry in store.list():
        data = store.read(entry.key)
        if data.startswith(b"\xff\xd8"):
            store.put(entry.key, marked(data))
    for name, columns in _COLUMNS.items():
        store.put(name, _with_columns(store.read(name), columns))
    store.put("deployments.csv", store.read("deployments.csv") + f"{_RAGGED}\n".encode())
    _edit(store, "datapackage.json", {"contributors": [_CONTACT], "bibliographicCitation": _CITATION})
    _edit(store, DETECTOR_KEY, {"info": {"format_version": "1.5", "summary_report": _USER}})


def marked(jpeg: bytes) -> bytes:
    """A JPEG with further segments; its own EXIF, where it has one, stays."""
    segments = [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP.encode()), (0xFE, _COMMENT.encode())]
    record = struct.pack(">BBBH", 0x1C, 2, 80, len(_BYLINE)) + _BYLINE.encode()
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record + b"\0" * (len(record) % 2)
    segments.append((0xED, b"Photoshop 3.0\0" + resource))
    with Image.open(io.BytesIO(jpeg)) as image:
        bare = not image.getexif()
    if bare:
        jpeg, exif = _without_exif(jpeg), Image.Exif()
        exif.update(_EXIF)
        exif.get_ifd(0x8769).update(_EXIF_MORE)
        segments.insert(0, (0xE1, exif.tobytes()))
    added = b"".join(struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in segments)
    tail = _TAIL.encode() if jpeg.endswith(b"\xff\xd9") else b""
    return jpeg[:2] + added + jpeg[2:] + tail


def _without_exif(jpeg: bytes) -> bytes:
    """Without its EXIF segment, if it has one."""
    start = jpeg.find(b"Exif\0\0") - 4
    if start < 0:
        return jpeg
    (length,) = struct.unpack(">H", jpeg[start + 2 : start + 4])
    return jpeg[:start] + jpeg[start + 2 + length :]


def _with_columns(table: bytes, columns: dict[str, str]) -> bytes:
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(dict.fromkeys([*rows[0], *columns])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | columns for row in rows)
    return stream.getvalue().encode()


def _edit(store: Store, key: str, changes: Mapping[str, object]) -> None:
    store.put(key, json.dumps(json.loads(store.read(key)) | changes).encode())


def found(text: str) -> set[str]:
    """What of the plants stands in a text, also in another case."""
    lower = text.lower()
    wanted = {word for one in PLANTS for word in one.texts} | {*ANYWHERE}
    return {word for word in wanted if word.lower() in lower}


def readable(data: bytes, key: str) -> str:
    """An object as text, with the values of Parquet files unpacked."""
    opened = repr(pq.read_table(io.BytesIO(data)).to_pydict()) if key.endswith(".parquet") else ""
    return data.decode("latin-1") + opened


def leaks(objects: Iterator[tuple[str, Callable[[], bytes]]]) -> dict[str, set[str]]:
    """By name what of the plants stands in each of some objects, where anything does."""
    every = ((name, found(f"{name} {readable(read(), name)}")) for name, read in objects)
    return {name: words for name, words in every if words}
