"""`python -m pipelines.experiments TABLE...`: run what is missing, in the order of need, and write the page."""

import time
from collections.abc import Iterator
from pathlib import Path

import click

from pipelines.dataset import Dataset
from pipelines.experiments import page
from pipelines.experiments.arms import TABLES
from pipelines.experiments.rows import Rows
from pipelines.experiments.table import Arm
from pipelines.recipe import load_recipe

PAGE = Path("docs/experiments.md")
Missing = tuple[Arm, int, int, str]
"""Arm, trial, seed, split."""


@click.command(help="Runs the rows of TABLES that are missing and writes docs/experiments.md.")
@click.argument("tables", nargs=-1, type=click.Choice(sorted(TABLES)), required=True)
@click.option("--minutes", type=float, default=float("inf"), help="Begin no run after so many minutes.")
@click.option("--device", default="cpu", help="Where models are trained.")
def main(tables: tuple[str, ...], minutes: float, device: str) -> None:
    end = time.monotonic() + 60 * minutes
    found = [rows(name, device) for name in tables]
    for one in found:
        for arm, trial, seed, split in missing(one):
            if time.monotonic() > end:
                break
            row = one.make(arm, trial, seed, split)
            told = f"{arm.name}  {split}  trial {trial}  seed {seed}"
            print(f"{told}  {one.table.unit} {row.figure:.1f}  {row.seconds:.0f} s")
    write(found)


def rows(name: str, device: str) -> Rows:
    """The rows of a table on the newest version of its dataset. Raises NotFound where `prepare` has not run."""
    recipe = load_recipe(TABLES[name].recipe)
    store = recipe.compute.store()
    return Rows(store, TABLES[name], Dataset.open(store, recipe.data.name), device)


def missing(rows: Rows) -> Iterator[Missing]:
    """Runs without a row, the first seeds of all arms before the second ones. Asked anew after each run, since the
    chosen trial is known once an arm's trials are."""
    table = rows.table
    for seed in range(table.seeds):
        for arm in table.arms:
            for trial in range(len(table.trials)):
                if rows.found(arm, trial, 0, "val") is None:
                    yield arm, trial, 0, "val"
            chosen = rows.chosen(arm)
            if chosen is not None and rows.found(arm, chosen, seed, "test") is None:
                yield arm, chosen, seed, "test"


def write(found: list[Rows]) -> None:
    """The page, whole or not at all."""
    text = page.HEADING + "\n" + "\n".join(page.section(one) for one in found)
    draft = PAGE.with_suffix(".md.new")
    draft.write_text(text)
    draft.replace(PAGE)
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
