"""Pillow's process-wide switches, held as strict decoding needs them while we decode.

Any library in the process can turn them: SpeciesNet's and MegaDetector's loaders set LOAD_TRUNCATED_IMAGES, ALBEF also
MAX_IMAGE_PIXELS = None. Pillow reads them when it loads, so what another import set would decide what we take.
"""

import threading
from types import TracebackType

from PIL import Image, ImageFile, PngImagePlugin

SWITCHES = (
    (ImageFile, "LOAD_TRUNCATED_IMAGES", False),  # True fills the missing part of a picture with grey
    (Image, "MAX_IMAGE_PIXELS", None),  # the limit is decoding.check_size, on every file and with our own reason
    (PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 20),  # bytes that one compressed text may unfold to
    (PngImagePlugin, "MAX_TEXT_MEMORY", 64 << 20),  # bytes of all texts of a file
)


class Strict:
    """A context in which SWITCHES stand as above. Threads may overlap in it; the last to leave restores what was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[object] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [getattr(module, name) for module, name, _ in SWITCHES]
            self._inside += 1
            for module, name, value in SWITCHES:
                setattr(module, name, value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for (module, name, _), value in zip(SWITCHES, self._before, strict=True):
                    setattr(module, name, value)


STRICT = Strict()
