"""Names and contents of image files: which extension claims which format, and files whose bytes say another."""

EXTENSIONS_OF = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
EXTENSIONS = tuple(extension for extensions in EXTENSIONS_OF.values() for extension in extensions)
"""Names under which an image is looked for where no metadata name the file."""
FAMILY = {"MPO": "JPEG"}
"""A format whose files begin as another's, and carry its extension."""


def mismatched(key: str, magic: str | None) -> bool:
    """Whether a file's name claims another image format than its bytes are. `magic` is the ledger's: null for a file
    that gave no image. A name that claims none is no mismatch. Such files are read by their bytes and taken."""
    if magic is None or not key.lower().endswith(EXTENSIONS):
        return False
    return not key.lower().endswith(EXTENSIONS_OF[FAMILY.get(magic, magic)])
