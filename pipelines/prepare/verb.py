"""`xmodal prepare`: from a recipe to a dataset version, and what is said about it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pipelines.dataset import Dataset
from pipelines.errors import DataRefused
from pipelines.prepare import flow
from pipelines.prepare.columns import each
from pipelines.prepare.event_labels import WITHOUT_DETECTOR, advice
from pipelines.prepare.listing import SurveyListing, check_taken, list_survey
from pipelines.prepare.withdrawal import unlisted
from pipelines.prepare.workers import RayWorkers
from pipelines.recipe import Recipe, load_recipe
from pipelines.session import cluster
from pipelines.sources.formats import mismatched
from pipelines.writable import check_writable


def prepare(arguments: tuple[str, ...], dry_run: bool = False) -> str:
    """Makes the recipe's dataset version, or with `dry_run` only says what would be taken; returns what to print.

    Raises SettingsError, DataRefused, infra.lock.Locked and what storage raises.
    """
    recipe = load_recipe(arguments)
    return "\n".join(dry(recipe) if dry_run else made(recipe))


def made(recipe: Recipe) -> list[str]:
    """The recipe's dataset version, and what became of every file."""
    return told(version(recipe))


def version(recipe: Recipe) -> Dataset:
    """Runs the flow in the recipe's cluster, which starts only where there is work."""
    most = max(recipe.compute.world_sizes[-1], recipe.compute.data_workers)  # nothing trains meanwhile
    with RayWorkers(most, lambda: cluster(recipe.compute)) as workers:
        model = recipe.model
        return flow.prepare(recipe.data, recipe.compute.store(), model.image, model.text, workers=workers)


def told(dataset: Dataset) -> list[str]:
    """Version, splits and what became of every file."""
    splits = ", ".join(f"{name} {count:,}" for name, count in dataset.counts.items())
    lines = [f"dataset {dataset.name} version {dataset.version} ({dataset.digest[:16]}): {splits}"]
    for survey in dataset.document["surveys"]:
        counts = ", ".join(f"{name} {count:,}" for name, count in survey["counts"].items())
        lines.append(f"  {survey['name']}: {survey['files']:,} files listed: {counts}")
        refused = ", ".join(f"{name} {count:,}" for name, count in survey["metadata_refused"].items())
        which = "; --dry-run names a few"
        lines += [f"  {survey['name']}: metadata rows not taken as written: {refused}{which}"] if refused else []
        unused = ", ".join(f"{name} {count:,}" for name, count in survey.get("unused", {}).items())
        lines += [f"  {survey['name']}: images in no split: {unused}"] if unused else []
        flags = ", ".join(f"{name} {count:,}" for name, count in survey.get("clock_flags", {}).items())
        lines += [f"  {survey['name']}: files by what their clocks are flagged for: {flags}"] if flags else []
        undetected = survey.get("unused", {}).get(WITHOUT_DETECTOR, 0)
        lines += [f"  {survey['name']}: {advice(undetected)}"] if undetected else []
    return lines + _misnamed(dataset)


def _misnamed(dataset: Dataset) -> list[str]:
    """A line for each survey with files whose bytes are of another format than their name says."""
    found: dict[str, list[str]] = {}
    for survey, key, magic, status in each(dataset.ledger(columns := ["survey", "key", "magic", "status"]), columns):
        if status == "ok" and mismatched(key, magic):
            found.setdefault(survey, []).append(f"{key} is {magic}")
    return [f"  {survey}: {len(of):,} files are not what their name says, as {of[0]}" for survey, of in found.items()]


def examined(arguments: tuple[str, ...], page: Path, sample: int | None = None) -> str:
    """A dry run that also writes the health page (pipelines.health) and reads at most `sample` files for it."""
    from pipelines.health import verb as health

    check_writable(page, "--report", "health.html")
    recipe = load_recipe(arguments)
    run = health.listed(recipe)
    return "\n".join([*would(recipe, run.listings), *health.write(recipe, run, page, sample)])


def dry(recipe: Recipe) -> list[str]:
    """What a run would read and what not, from listing and metadata alone."""
    lines: list[str] = []
    for survey in recipe.data.surveys:
        listing = list_survey(recipe.data, survey)
        lines += [*would(recipe, [listing]), *_obstacle(listing)]
    return lines


def would(recipe: Recipe, listings: Iterable[SurveyListing]) -> list[str]:
    """The lines of a dry run."""
    waits = recipe.data.event_labels == "with_box"
    return [line for listing in listings for line in _would(listing, waits)]


def _would(listing: SurveyListing, waits: bool) -> list[str]:
    """`waits`: whether labels of events wait for a detector."""
    reasons = Counter(reason for reason in listing.why if reason)
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
    taken, listed = listing.taken & listing.files.listed, int(listing.files.listed.sum())
    labelled = int((listing.known.labelled & taken).sum())
    undetected = int((listing.known.undetected & taken).sum()) if waits else 0
    lines = [
        f"{listing.name}: {listed:,} files listed, {taken.sum():,} would be read, {labelled:,} labelled",
        f"{listing.name}: not read: {told or 'none'}",
    ]
    lines += [f"{listing.name}: {advice(undetected)}"] if undetected else []
    return lines + _refused(listing) + unlisted(listing)


def _obstacle(listing: SurveyListing) -> list[str]:
    """A line where a run would end before it reads anything."""
    try:
        check_taken(listing)
    except DataRefused as error:
        return [f"A run would stop: {error}."]
    return []


def _refused(listing: SurveyListing) -> list[str]:
    """A line for each reason for which rows of metadata are not taken as written, with a few of the rows."""
    refused = listing.known.survey.refused
    lines = []
    for reason, count in sorted(refused.counts.items()):
        examples = f", as {', '.join(shown)}" if (shown := refused.shown(reason)) else ""
        lines.append(f"{listing.name}: metadata rows not taken as written: {reason} {count:,}{examples}")
    return lines
