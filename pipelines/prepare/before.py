"""The parent's ledger, beside the files that are listed now."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipelines.prepare.catalogue import Catalogue
from pipelines.prepare.columns import NONE, matched, taken
from pipelines.prepare.parts import LEDGER


class Before:
    """LEDGER rows by survey, in temporary files: of each part by itself, rising by key."""

    def __init__(self, parts: Mapping[str, Sequence[pa.Table]]) -> None:
        self._parts = parts
        self.tables = {survey: pa.concat_tables([LEDGER.empty_table(), *own]) for survey, own in parts.items()}
        self._places: dict[str, np.ndarray] = {}

    def rows(self, survey: str) -> pa.Table:
        """All of a survey."""
        return self.tables.get(survey, LEDGER.empty_table())

    def named(self, survey: str, keys: pa.ChunkedArray) -> np.ndarray:
        """int32 (keys,) the row of each of the rising keys among `rows(survey)`; NONE for those that the parent did not
        know."""
        found, begin = np.full(len(keys), NONE, np.int32), 0
        for part in self._parts.get(survey, ()):
            own = matched(keys, part["key"])
            found = np.where(own == NONE, found, own + begin)
            begin += len(part)
        return found

    def lacking(self, survey: str, keys: pa.ChunkedArray) -> pa.Table:
        """The rows of a survey whose keys are none of the rising `keys`; they rise as well."""
        parts = [part.filter(pa.array(matched(part["key"], keys) == NONE)) for part in self._parts.get(survey, ())]
        return pa.concat_tables([LEDGER.empty_table(), *parts]).sort_by("key")

    def of(self, survey: str, files: Catalogue, positions: np.ndarray, names: Iterable[str] = LEDGER.names) -> pa.Table:
        """Columns of the rows of files, all null for those that the parent did not know."""
        if survey not in self._places:
            self._places[survey] = self.named(survey, files.keys)
        return self.taken(survey, self._places[survey][positions], names)

    def taken(self, survey: str, rows: np.ndarray, names: Iterable[str] = LEDGER.names) -> pa.Table:
        """Columns of some of `rows(survey)`, all null for NONE."""
        return taken(self.rows(survey).select(list(names)), rows)
