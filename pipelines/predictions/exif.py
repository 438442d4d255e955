"""When a file says that it was taken: EXIF's DateTimeOriginal, and the offset that newer cameras write beside it."""

import io

from PIL import Image

from pipelines.sources.clock import read_clock
from pipelines.sources.schema import Refused
from xmodal.decoding import FORMATS

_EXIF = 0x8769
_TAKEN, _OFFSET = 0x9003, 0x9011


def taken_at(data: bytes) -> tuple[str | None, int | None]:
    """Local wall time "YYYY-MM-DD HH:MM:SS" and seconds east of UTC of an image file; null where it does not say, or
    says what cannot be."""
    try:
        tags = Image.open(io.BytesIO(data), formats=FORMATS).getexif().get_ifd(_EXIF)
    except Exception:  # damaged EXIF raises many types, and says nothing
        return None, None
    written = str(tags.get(_TAKEN) or "").strip("\0 ").replace(":", "-", 2)  # as ISO 8601, which may have an offset
    offset = str(tags.get(_OFFSET) or "").strip("\0 ")
    found = read_clock(f"{written}{offset}", Refused())
    if found.wall is None:
        found = read_clock(written, Refused())
    return found.wall, found.utc_offset
