"""One run of prepare: what it starts from, and how it gets work done that an earlier, killed run may have begun."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from infra.storage import Store
from pipelines.prepare import ledger, versions
from pipelines.prepare.before import Before
from pipelines.prepare.digests import digest, settings_digest
from pipelines.prepare.items import PIXELS_VERSION
from pipelines.prepare.kept_events import keep_events
from pipelines.prepare.listing import SurveyListing, check_taken, list_survey
from pipelines.prepare.proposal import Pins
from pipelines.prepare.settings import DataSettings, SplitSettings
from pipelines.prepare.tasks import Tasks
from pipelines.prepare.workers import Worker, Workers
from pipelines.progress import Progress, warn
from xmodal.settings import fingerprint

RECEIPT_LASTS = timedelta(hours=12)
"""Age by the store's clock from which a receipt is not believed: `xmodal gc` deletes what nothing names after twice
this long, and may have begun."""


@dataclass(frozen=True)
class Run:
    """The settings, the parent version and the listings: fixed before anything is written."""

    data: DataSettings
    store: Store
    number: int
    """Highest version number ever used; this run makes the next."""
    parent: versions.Document | None
    before: Before
    """The parent's ledger."""
    listings: list[SurveyListing]
    workers: Workers
    progress: type[Progress]

    @classmethod
    def begin(cls, data: DataSettings, store: Store, workers: Workers, progress: type[Progress]) -> "Run":
        """Lists the archives and reads their metadata. Raises DataRefused where one has no image to take."""
        run = cls.listed(data, store, workers, progress)
        for listing in run.listings:
            check_taken(listing)
        return run

    @classmethod
    def listed(cls, data: DataSettings, store: Store, workers: Workers, progress: type[Progress]) -> "Run":
        """The same without that refusal, for a dry run: it says what stands in the way."""
        home = versions.home(store, data.name)
        number, parent = max(versions.numbers(home), default=0), versions.latest(home)
        before = ledger.by_survey(home, parent["ledger"] if parent else [])
        listings = [list_survey(data, survey, before) for survey in data.surveys]
        run = cls(data, store, number, parent, before, listings, workers, progress)
        run._keep_events()
        return run

    def _keep_events(self) -> None:
        """Where what the parent split is to stay where it is, so are its events."""
        if self.parent is None or self.pinned is None:
            return
        for listing in self.listings:
            keep_events(listing, self.before)
        if self.parent["prepare"]["settings"]["event_gap"] != self.data.event_gap:
            told = f"files of version {self.parent['version']} keep their events, only new ones are cut by it"
            warn(f"data.event_gap: {told} (docs/splits.md)")

    @property
    def home(self) -> Store:
        return versions.home(self.store, self.data.name)

    @property
    def settings(self) -> DataSettings:
        """The settings without the version that others are to use: it does not change what is made."""
        return self.data.model_copy(update={"version": None})

    @property
    def needed(self) -> tuple[str, ...]:
        """Ledger columns that must be known of every image, which versions made by older code may lack."""
        return ("look",) if self.data.thin else ()

    @property
    def fingerprint(self) -> str:
        return fingerprint({"data": self.settings})

    @cached_property
    def prepare_id(self) -> str:
        """Names this piece of work: the successor of a killed or refused run over the same listing takes over its
        receipts, also where settings other than the pixels' were changed: receipts are named by all they depend on."""
        listed = [listing.digest for listing in self.listings]
        return digest(self.data.name, settings_digest(self.data.pixels), listed, self.number)[:16]

    @property
    def work(self) -> Store:
        return receipts(self.store, self.data.name).child(self.prepare_id)

    @cached_property
    def pinned(self) -> Pins | None:
        """The parent's pins, where what it split is to stay where it is."""
        if self.parent is None:
            return None
        old = TypeAdapter(SplitSettings).validate_python(self.parent["prepare"]["settings"]["split"])
        return self.data.split.inherited(old, self.parent["split"]["pinned"])

    @cached_property
    def read_before(self) -> Before:
        """The parent's ledger, where its files were read by the code that reads them now."""
        same = self.parent is not None and self.parent["code"]["pixels"] == PIXELS_VERSION
        return self.before if same else Before({})

    @cached_property
    def oldest_receipt(self) -> datetime:
        """Time, by the store's clock, before which a receipt is not believed."""
        return self.home.now() - RECEIPT_LASTS

    def inherited(self, kind: str) -> list[dict[str, Any]]:
        """The parent's entries of a kind of part."""
        return self.parent[kind] if self.parent else []

    def perform(
        self,
        folder: str,
        make: Callable[..., Worker],
        arguments: tuple[Any, ...],
        tasks: Mapping[str, Any],
        part_of: Callable[[bytes], dict[str, Any] | None] = json.loads,
        light: bool = False,
    ) -> Iterator[bytes]:
        """The receipts of `tasks` (by the name of their receipt in `folder`): those that are there, then new ones. A
        task is looked up when it is its turn.

        `part_of`: the entry of the part that a receipt says was written; where it is not stored, the task is done
        again. `light`: a task takes a second or less.
        """
        found = self.work.child(folder)
        listed = (entry for entry in found.stream() if entry.fault is None)
        believed = {entry.key for entry in listed if entry.modified > self.oldest_receipt}
        done = set()
        for name in sorted(believed & tasks.keys()):
            receipt = found.read(name)
            if self.stored(part_of(receipt)):
                done.add(name)
                yield receipt
        left = Tasks(tasks, [name for name in tasks if name not in done])
        yield from self.workers.run(make, arguments, left, light)

    def stored(self, entry: dict[str, Any] | None) -> bool:
        """Whether a part is there with its size; None, which is no part, is."""
        if entry is None:
            return True
        found = self.home.head(entry["path"])
        return found is not None and found.size == entry["bytes"]

    def finish(self) -> None:
        """Forgets the receipts."""
        self.work.delete([entry.key for entry in self.work.list()])


def receipts(store: Store, name: str) -> Store:
    """Where runs of a dataset leave their receipts, in a folder each."""
    return store.child(f"work/{name}")
