"""`python -m pipelines.experiments TABLE...`: run what is missing, in the order of need, and write the page."""

from pathlib import Path

import click

from pipelines.dataset import Dataset
from pipelines.experiments import page
from pipelines.experiments.arms import TABLES
from pipelines.experiments.rows import Rows
from pipelines.experiments.work import work
from pipelines.recipe import load_recipe

PAGE = Path("docs/experiments.md")


@click.command(help="Runs the rows of TABLES that are missing and writes docs/experiments.md.")
@click.argument("tables", nargs=-1, type=click.Choice(sorted(TABLES)), required=True)
@click.option("--minutes", type=float, default=float("inf"), help="Begin no run after so many minutes.")
@click.option("--device", default="cpu", help="Where models are trained.")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="Runs at once.")
def main(tables: tuple[str, ...], minutes: float, device: str, processes: int) -> None:
    found = [rows(name, device) for name in tables]
    work(found, processes, 60 * minutes)
    write(found)


def rows(name: str, device: str) -> Rows:
    """The rows of a table on the newest version of its dataset. Raises NotFound where `prepare` has not run."""
    recipe = load_recipe(TABLES[name].recipe)
    store = recipe.compute.store()
    return Rows(store, TABLES[name], Dataset.open(store, recipe.data.name), device)


def write(found: list[Rows]) -> None:
    """The page, whole or not at all; sections of tables that were not asked for stay as they are."""
    earlier = PAGE.read_text() if PAGE.exists() else ""
    draft = PAGE.with_suffix(".md.new")
    draft.write_text(page.whole([page.section(one) for one in found], earlier))
    draft.replace(PAGE)
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
