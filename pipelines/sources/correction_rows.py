"""What one row of a corrections table says: the columns people write, and the label they give."""

from typing import Any

from pipelines.sources.handwritten import Row
from pipelines.sources.labels import BAD, observation_type, plain, scientific
from pipelines.sources.rows import whole
from pipelines.sources.schema import PEOPLE, Refused

COLUMNS: dict[str, tuple[str, ...]] = {
    "survey": (),
    "key": ("file_path",),
    "media_id": (),
    "also": ("other_files",),
    "type": ("observation_type",),
    "scientific_name": (),
    "common_name": (),
    "count": (),
    "life_stage": (),
    "sex": (),
    "behavior": ("behaviour",),
}
"""The columns that are read, and other spellings of each; all others are passed over."""
LABEL = ("type", "scientific_name", "common_name")
DETAILS = ("life_stage", "sex", "behavior")

BETWEEN = "|"
"""What stands between the files of `also`."""

Types = dict[str, str]
"""What the overlay's setting says of words, `as_compared`."""
Columns = dict[str, Any]
"""Some columns of OBSERVATIONS; `common` is the common name as written."""


def read_label(row: Row, types: Types, refused: Refused) -> Columns | None:
    """The columns of OBSERVATIONS that a row states; null where it has no label, or, counted, none that can be used."""
    example = f"line {row.line}: {', '.join(cell for name in LABEL if (cell := row[name]))!r:.80}"
    if not any(row[name] for name in LABEL):
        if any(row[name] for name in ("count", *DETAILS)):
            refused.add("details_without_label", f"line {row.line}")
        return None
    if any((row[name] or "").lower() in BAD for name in LABEL):
        refused.add("bad_label", example)
        return None
    stated, implied = _stated_type(row, types), _implied_type(row, types)
    if stated == "bad" or (stated and implied and not _agree(stated, implied)):
        refused.add("unknown_type" if stated == "bad" else "contradicting_labels", example)
        return None
    return _details(row, refused) | _names(row, stated or implied or "unknown", implied == "animal")


def named_alone(label: Columns) -> Columns:
    """What a label says of the other frames that were looked at with its own: the animal, and neither how many there
    are nor what they do."""
    return label | dict.fromkeys(("count", *DETAILS))


def shown(row: Row, types: Types) -> set[str]:
    """Of PEOPLE all that a row names, also one that contradicts itself."""
    return {kind for kind in (_stated_type(row, types), _implied_type(row, types)) if kind in PEOPLE}


def _stated_type(row: Row, types: Types) -> str | None:
    """The cell `type`, or "bad" where it holds no word we know."""
    written = row["type"]
    if written is None:
        return None
    found = observation_type(written, types=types)
    return found if found != "animal" or plain(written) in ("animal", *types) else "bad"


def _implied_type(row: Row, types: Types) -> str | None:
    names = [cell for name in ("scientific_name", "common_name") if (cell := row[name])]
    return observation_type(*names, types=types) if names else None


def _agree(stated: str, implied: str) -> bool:
    """An animal may be of an unknown kind; nothing else may have another's name."""
    return stated == implied or (stated == "animal" and implied in ("unknown", "unclassified"))


def _names(row: Row, kind: str, named: bool) -> Columns:
    written, common = row["scientific_name"], row["common_name"]
    found: Columns = {"type": kind, "label": written or common or kind}
    if kind == "animal" and named:
        found["taxon"], found["rank"] = scientific(_capitalised(written))
        generic = common is None or common.lower() in ("animal", (written or "").lower())
        found["common"] = None if generic else common
    return found


def _capitalised(name: str | None) -> str | None:
    """A name as taxonomists write it: people write `vulpes vulpes` and `VULPES VULPES`."""
    words = (name or "").split()
    if not words:
        return None
    if all(word.isupper() for word in words) or (len(words) == 2 and all(word.isalpha() for word in words)):
        words = [word.lower() for word in words]
    return " ".join([words[0][0].upper() + words[0][1:], *words[1:]])


def _details(row: Row, refused: Refused) -> Columns:
    """Count, life stage, sex, behaviour; a count that cannot be read is counted, and the label stays."""
    count = whole(row["count"], least=1)
    if row["count"] and count is None:
        refused.add("bad_count", f"line {row.line}: {row['count']!r:.40}")
    return {"count": count} | {name: (row[name] or "").lower() or None for name in DETAILS}
