"""A survey's metadata read into tables that are not in memory; where they are large, by a process of its own.

Parsing takes memory in proportion to what is parsed: all of a JSON document at once, and some hundred bytes for every
row of a table. A process that ends gives it back whole.
"""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import Any, cast

import pyarrow as pa

from infra.storage import Store
from pipelines.errors import Failed
from pipelines.prepare import spill
from pipelines.prepare.cameras import pc
from pipelines.prepare.events import with_events
from pipelines.prepare.metadata import Metadata, worked_out
from pipelines.prepare.settings import SurveySettings

MANY_FILES = 50_000
LARGE_BYTES = 32_000_000
"""Files listed, and bytes of those that may be metadata, from which a process of its own reads them: it takes seconds
to start."""
_METADATA = r"(?i)\.(csv|json|jsonl|txt|token|gz|zip|parquet)$"
_OF_SURVEY = ("media", "observations", "detections", "signs")


class ReadKeys:
    """A store that remembers which objects were read: those are metadata, whatever they are called."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.keys: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, key: str) -> bytes:
        self.keys.add(key)
        return self._store.read(key)

    def open(self, key: str) -> Any:
        self.keys.add(key)
        return self._store.open(key)


def read_metadata(store: Store, settings: SurveySettings, event_gap: float, listed: pa.Table) -> Metadata:
    """The survey with its overlays and with an event at every frame. `listed`: a LISTED table. Raises DataRefused, what
    storage raises, and Failed where the other process was ended."""
    with tempfile.TemporaryDirectory(prefix="xmodal-") as folder:
        if _is_large(listed):
            found = _read_apart(store, settings, event_gap, folder)
        else:
            found = _read(store, settings, event_gap, folder)
        return _with(found, {name: spill.read(f"{folder}/{name}") for name in _tables(found)})


def _is_large(listed: pa.Table) -> bool:
    metadata = listed["size"].filter(pc.match_substring_regex(listed["key"], _METADATA))
    return len(listed) >= MANY_FILES or (pc.sum(metadata).as_py() or 0) >= LARGE_BYTES


def _read_apart(store: Store, settings: SurveySettings, gap: float, folder: str) -> Metadata:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_read, store, settings, gap, folder).result()
        except BrokenProcessPool:
            told = "the process that reads its metadata was ended from outside; it may have lacked memory"
            raise Failed(f"survey {settings.name}: {told}") from None


def _read(store: Store, settings: SurveySettings, gap: float, folder: str) -> Metadata:
    """What was read, whose large tables are files in `folder` and here without rows."""
    reader = ReadKeys(store)
    survey = settings.source.read(cast(Store, reader))
    for overlay in settings.overlays:
        survey = overlay.read(cast(Store, reader), survey)
    survey = replace(survey, media=with_events(survey.media, gap))
    found = worked_out(survey, frozenset(reader.keys))
    tables = _tables(found)
    for name, table in tables.items():
        spill.write(f"{folder}/{name}", table.combine_chunks().to_batches(), table.schema)
    return _with(found, {name: table.schema.empty_table() for name, table in tables.items()})


def _tables(found: Metadata) -> dict[str, pa.Table]:
    """Those that grow with the survey."""
    of_survey = {name: getattr(found.survey, name) for name in _OF_SURVEY}
    return of_survey | {"observed": found.observed, "beside": found.beside}


def _with(found: Metadata, tables: dict[str, pa.Table]) -> Metadata:
    """With other tables of these names."""
    survey = replace(found.survey, **{name: tables[name] for name in _OF_SURVEY})
    return replace(found, survey=survey, observed=tables["observed"], beside=tables["beside"])
