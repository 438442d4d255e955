"""The clock flags of every file of every survey, once the pixels are known: only they tell noon from midnight."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from infra.storage import Store
from pipelines.prepare import clocks
from pipelines.prepare.cameras import pc
from pipelines.prepare.columns import NONE
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.parts import PIXELS, read_columns
from pipelines.prepare.plan import Held, Item
from pipelines.prepare.run import Run

ClockFlags = dict[str, np.ndarray]
"""Survey to the flags of its media (media,), str or None, as the ledger writes them."""
READERS = 16
HARMLESS = sum(map(clocks.bit, clocks.HARMLESS))
"""The set of flags with which a clock is still trusted."""


def clock_flags(run: Run, items: list[Item], held: Held) -> ClockFlags:
    """The flags of all media."""
    measure(run.home, items, held)
    return {listing.name: _of_survey(listing, items, held) for listing in run.listings}


def _of_survey(listing: SurveyListing, items: list[Item], held: Held) -> np.ndarray:
    beside = listing.known.metadata.beside
    camera, seconds, doubts = (beside[name].to_numpy() for name in ("camera", "seconds", "doubts"))
    values = np.full(len(beside), np.nan, np.float32)
    for item in (one for one in items if one.survey == listing.name):
        media = listing.files.media[item.files]
        infrared = held.outcomes[item.identity]["infrared"].cast(pa.float64()).fill_null(np.nan).to_numpy()
        values[media[media != NONE]] = infrared[media != NONE]
    turned = clocks.turned(camera, seconds, values, (doubts & ~HARMLESS) == 0)
    return clocks.texts(doubts | np.where(turned, clocks.bit("light_disagrees"), 0))


def measure(home: Store, items: Iterable[Item], held: Held) -> None:
    """Completes the outcomes of files read before outcomes told infrared, from the pixel parts' own column."""
    lacking = {item.identity: (item, part) for item in items for part in _lacking(item, held)}
    paths = [part["path"] for _, part in lacking.values()]
    with ThreadPoolExecutor(READERS) as pool:
        tables = pool.map(lambda path: read_columns(home, path, ["key", "infrared"], PIXELS), paths)
        for (item, _), table in zip(lacking.values(), tables, strict=True):
            outcomes = held.outcomes[item.identity]
            known = table["infrared"].take(pc.index_in(pa.array(item.keys), value_set=table["key"]))
            place = outcomes.column_names.index("infrared")
            held.outcomes[item.identity] = outcomes.set_column(place, "infrared", known)


def _lacking(item: Item, held: Held) -> Iterator[dict[str, Any]]:
    """The item's part, where some of its images have no measurement."""
    outcomes, part = held.outcomes[item.identity], held.parts[item.identity]
    if part is not None and pc.any(pc.and_(outcomes["reason"].is_null(), outcomes["infrared"].is_null())).as_py():
        yield part
