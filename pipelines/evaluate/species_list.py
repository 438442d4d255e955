"""A table of species, as taxon facts: the columns are those of iNaturalist's un-obfuscated category lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.storage import open_store
from pipelines.errors import DataRefused
from pipelines.prepare.facts import taxon_fact
from pipelines.sources.inaturalist import category_columns
from pipelines.sources.reading import iterate
from pipelines.sources.rows import text
from pipelines.sources.schema import Refused
from pipelines.sources.tables import read_table


@dataclass(frozen=True)
class SpeciesList:
    """The species of a table, by scientific name."""

    path: str
    taxa: Mapping[str, dict[str, Any]]
    """Species -> its taxon fact."""
    refused: Refused
    """Rows left out, by reason: no_name, not_a_species (a genus, a subspecies ...), duplicate_name."""


def read_species(path: str) -> SpeciesList:
    """Reads `evaluation.gallery`. A name whose form shows no rank (a hybrid) is taken for a species.

    Raises DataRefused where the table cannot be read, lacks the column name or names no species, storage.NotFound.
    """
    folder, slash, key = path.rpartition("/")
    taxa: dict[str, dict[str, Any]] = {}
    refused = Refused()
    for row in iterate(read_table(open_store(folder or slash or "."), key, refused, needed=("name",))):
        name, fact = _fact(row)
        reason = _fault(fact, taxa)
        if fact is None or reason is not None:
            refused.add(reason or "no_name", name)
        else:
            taxa[fact["value"]] = fact
    if not taxa:
        told = ", ".join(f"{reason} {count}" for reason, count in refused.counts.most_common()) or "no rows"
        raise DataRefused(f"evaluation.gallery: {path} names no species ({told})")
    return SpeciesList(path, taxa, refused)


def _fact(row: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """What a row is called, and its taxon fact; None without a name."""
    name = text(row["name"])
    if name is None:
        return "", None
    columns = category_columns(name, row)
    return name, taxon_fact([{**columns, "rank": columns["rank"] or "species"}])


def _fault(fact: dict[str, Any] | None, taxa: Mapping[str, Any]) -> str | None:
    if fact is None:
        return "no_name"
    if fact["rank"] != "species":
        return "not_a_species"
    return "duplicate_name" if fact["value"] in taxa else None
