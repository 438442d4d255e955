"""The parent's ledger, beside the files that are listed now."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from pipelines.prepare.cameras import pc
from pipelines.prepare.catalogue import Catalogue
from pipelines.prepare.columns import NONE, rows_at
from pipelines.prepare.parts import LEDGER


class Before:
    """LEDGER rows by survey, in a temporary file."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self.tables = tables
        self._places: dict[str, np.ndarray] = {}

    def rows(self, survey: str) -> pa.Table:
        """All of a survey."""
        return self.tables.get(survey, LEDGER.empty_table())

    def named(self, survey: str, keys: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """(keys,) the row of each key among `rows(survey)`; NONE for a key that the parent did not know."""
        return pc.index_in(keys, value_set=self.rows(survey)["key"]).fill_null(NONE).to_numpy()

    def of(self, survey: str, files: Catalogue, positions: np.ndarray) -> pa.Table:
        """The rows of files, all null for those that the parent did not know."""
        if survey not in self._places:
            self._places[survey] = self.named(survey, files.keys).astype(np.int32)
        return self.taken(survey, self._places[survey][positions])

    def taken(self, survey: str, rows: np.ndarray) -> pa.Table:
        """Some of `rows(survey)`, all null for NONE."""
        return self.rows(survey).take(rows_at(rows))
