"""Which units go to one split together, by union-find (scipy.sparse.csgraph) over what links them.

Links are events, which weld every unit they are seen from, and exact copies among loose files. A copy never welds
places: one black frame would join half an archive.
"""

import numpy as np

from pipelines.prepare.units import Rows


def welded(rows: Rows, fixed: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """(units,) code of the unit whose split each unit takes.

    `fixed` (units,) keep their own; a new unit takes that of the fixed unit which it is linked to, of several the last
    by name; new units without such a link take that of the last by name among them (places come last). `apart`
    (units,), a part of the fixed ones, link nothing.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    unit, link, links = _links(rows)
    unit, link = unit[~apart[unit]], link[~apart[unit]]
    count = len(fixed)
    free = ~fixed[unit]
    edges = (np.ones(free.sum(), np.int8), (unit[free], count + link[free]))
    parts, part = connected_components(coo_array(edges, shape=(count + links,) * 2), directed=False)
    own, drawn = np.full(parts, -1), np.full(parts, -1)
    np.maximum.at(own, part[:count], np.arange(count))
    np.maximum.at(drawn, part[count + link[~free]], unit[~free])
    return np.where(fixed, np.arange(count), np.where(drawn < 0, own, drawn)[part[:count]])


def _links(rows: Rows) -> tuple[np.ndarray, np.ndarray, int]:
    """Unit and link of every row that a link binds, and how many codes links have."""
    bound = rows.event >= 0
    events = len(rows.events)
    copies = rows.loose & (rows.file >= 0)
    unit = np.concatenate([rows.unit[bound], rows.unit[copies]])
    link = np.concatenate([rows.event[bound], events + rows.file[copies]])
    return unit, link, events + int(rows.file.max(initial=-1)) + 1
