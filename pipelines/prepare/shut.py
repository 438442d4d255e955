"""Containers and folders that the store cannot give now: nobody can say whether what lay in them is still there.

What the version before knew of is listed as `unreadable` and not taken for gone: it counts among a survey's bad files,
of which a run bears a share only, and the first run that gets in reads it again.
"""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from pipelines.prepare.cameras import pc
from pipelines.prepare.catalogue import LISTED
from pipelines.prepare.columns import mask
from pipelines.sources.archive import FORMATS

UNREADABLE = "unreadable"
SUFFIXES = tuple(suffix for form in FORMATS for suffix in form.suffixes)
"""Of containers."""


def inside(keys: pa.ChunkedArray, shut: Collection[str]) -> np.ndarray:
    """bool (keys,): whether they begin as one of `shut` (Archive.shut)."""
    found = np.zeros(len(keys), bool)
    for beginning in shut:
        found |= mask(pc.starts_with(keys, beginning))
    return found


def with_known(entries: pa.Table, before: pa.Table, shut: Collection[str]) -> pa.Table:
    """LISTED `entries`, and the files inside `shut` that are not among them and that `before`, LEDGER rows, says were
    there."""
    known = before.filter(pa.array(inside(before["key"], shut)))
    known = known.filter(pc.and_(pc.not_equal(known["status"], "gone"), known["etag"].is_valid()))
    seen = entries["key"].filter(pa.array(inside(entries["key"], shut)))
    known = known.filter(pc.invert(pc.is_in(known["key"], value_set=seen)))
    told = {name: known[name] for name in ("key", "size", "etag")} | {"modified": known["last_modified"]}
    told["reason"] = pa.repeat(pa.scalar(UNREADABLE), len(known))
    columns = {field.name: told.get(field.name, pa.nulls(len(known), field.type)) for field in LISTED}
    return pa.concat_tables([entries, pa.table(columns, LISTED)])
