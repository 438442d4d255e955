"""The clock flags of every file of every survey, once the pixels are known: only they tell noon from midnight."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from infra.storage import Store
from pipelines.prepare import clocks
from pipelines.prepare.listing import SurveyListing
from pipelines.prepare.parts import PIXELS, read_columns
from pipelines.prepare.plan import Held, Item
from pipelines.prepare.run import Run

ClockFlags = dict[str, dict[str, str | None]]
"""Survey to key to flags, as the ledger writes them; a file that no metadata name has none."""
READERS = 16


def clock_flags(run: Run, items: list[Item], held: Held) -> ClockFlags:
    """The flags of all files that metadata name."""
    measure(run.home, items, held)
    return {listing.name: _of_survey(listing, held) for listing in run.listings}


def _of_survey(listing: SurveyListing, held: Held) -> dict[str, str | None]:
    survey = listing.known.survey
    keys = survey.media["key"].to_pylist()
    infrared = (held.outcomes.get((listing.name, key), {}).get("infrared") for key in keys)
    values = np.array([np.nan if one is None else float(one) for one in infrared], np.float64)
    masks = clocks.check(survey)
    masks["light_disagrees"] = clocks.light_disagrees(survey.media, values, masks)
    return dict(zip(keys, clocks.written(masks, len(keys)), strict=True))


def measure(home: Store, items: Iterable[Item], held: Held) -> None:
    """Completes the outcomes of files read before outcomes told infrared, from the pixel parts' own column."""
    lacking = {item.identity: part for item in items for part in _lacking(item, held)}
    with ThreadPoolExecutor(READERS) as pool:
        tables = pool.map(lambda part: read_columns(home, part["path"], ["key", "infrared"], PIXELS), lacking.values())
        for part, table in zip(lacking.values(), tables, strict=True):
            for key, infrared in zip(table["key"].to_pylist(), table["infrared"].to_pylist(), strict=True):
                held.outcomes[part["survey"], key]["infrared"] = infrared


def _lacking(item: Item, held: Held) -> Iterator[dict[str, Any]]:
    """The item's part, where some of its images have no measurement."""
    outcomes = (held.outcomes[item.survey, key] for key in item.keys)
    part = held.parts[item.identity]
    if part is not None and any(one["status"] == "ok" and one.get("infrared") is None for one in outcomes):
        yield part
