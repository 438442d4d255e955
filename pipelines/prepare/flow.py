"""Prepare: archives to a dataset version, in the order that lets a kill at any moment cost only repeated work.

1. Take the lock; the parent is the newest live version. List the archives, read their metadata.
2. Cut items; those the parent holds are inherited.
3. Workers write pixel parts, then (split and vocabulary being known) record parts, then features; each leaves a
   receipt.
4. Ledger parts.
5. Creating `versions/N+1.json` is the commit. Content equal to the parent's makes no version.
6. Receipts are deleted, the lock released.
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from infra.storage import Store
from pipelines.dataset import Dataset
from pipelines.errors import Failed
from pipelines.prepare import event_labels, ledger, versions, vocabularies
from pipelines.prepare.attributes import Vocabulary
from pipelines.prepare.clock_flags import ClockFlags, clock_flags
from pipelines.prepare.columns import at
from pipelines.prepare.cuts import cuts
from pipelines.prepare.derived import derive
from pipelines.prepare.document import describe, split_counts, unused
from pipelines.prepare.images import File, PixelReceipt, PixelTask, ReadPixels
from pipelines.prepare.lexicon import Lexicon
from pipelines.prepare.placed import Codes, left_out, of_files, placed
from pipelines.prepare.plan import Held, Item, cut_items, inherited, ledger_rows, unchanged
from pipelines.prepare.records import RecordsTask, WriteRecords, records_id
from pipelines.prepare.run import Run
from pipelines.prepare.settings import DataSettings
from pipelines.prepare.splits import ASSIGNED, Split, assign, check_counts
from pipelines.prepare.tasks import Made
from pipelines.prepare.thinned import thinned
from pipelines.prepare.withdrawal import Withdrawn, count_unmatched, found_by_reading, withdraw
from pipelines.prepare.workers import RayWorkers, Workers
from pipelines.progress import Progress, warn
from xmodal.decoding import pixel_reader
from xmodal.encoders import ImageEncoderSettings, TextEncoderSettings


def prepare(
    data: DataSettings,
    store: Store,
    image_encoder: ImageEncoderSettings,
    text_encoder: TextEncoderSettings,
    progress: type[Progress] = Progress,
    workers: Workers | None = None,
    lease: float = versions.LEASE_SECONDS,
) -> Dataset:
    """Makes the next version of `data.name` below `store`, or finds that the newest one is already what it would be.

    Features are computed where an encoder is frozen. `workers`: without them Ray Data actors in the cluster that this
    process is connected to. `lease`: seconds of the lock. Raises DataRefused with nothing visible changed,
    SettingsError, infra.lock.Locked, and what storage raises.
    """
    pixel_reader(data.pixels.decoder)  # one that is not installed is refused before anything is done
    versions.home(store, data.name).probe()
    with versions.locked(store, data.name, lease) as lock:
        run = Run.begin(data, store, workers or RayWorkers(), progress)
        content = build(run, image_encoder, text_encoder)
        if run.parent is None or versions.content_digest(content) != run.parent["digest"]:
            check_stored(run, content)
            parent = run.parent["version"] if run.parent else None
            lock.confirm()
            versions.commit(run.home, content, run.number + 1, parent, lock.fence)
        run.finish()
    return Dataset.open(store, data.name)


def build(run: Run, image_encoder: ImageEncoderSettings, text_encoder: TextEncoderSettings) -> versions.Document:
    """Writes every part that is not there yet and returns the content of the version document."""
    check_labels(run)
    withdrawn = withdraw(run.listings, run.before)
    items, held = take(run, withdrawn)
    clocks = clock_flags(run, items, held)
    rows = account(run, items, held, clocks)
    splits = split(run, rows)
    codes = thinned(run.listings, rows, of_files(rows, splits), run.data)
    rows = left_out(rows, codes)
    readable = sorted((one for one in items if held.parts[one.identity]), key=lambda one: (one.survey, one.identity))
    pixels = [part for item in readable if (part := held.parts[item.identity])]
    surveys = [listing.known.survey for listing in run.listings]
    words, names = vocabularies.attributes(parent_attributes(run), surveys, run.data.captions.languages)
    records = write_records(run, readable, held, codes, words, names, clocks)
    event_labels.check_counts(split_counts(records), unused(records))
    check_counts(split_counts(records), run.data.split.kind)
    wordpiece = wordpiece_json(run, records)
    documents = {"attributes": vocabularies.attributes_json(words), "wordpiece": wordpiece}
    old = run.inherited("vocabularies")
    stored = [vocabularies.stored(run.home, kind, text, old) for kind, text in documents.items()]
    features = derive(run, pixels, records, wordpiece, image_encoder, text_encoder)
    gone = ledger.gone(rows, run.before, withdrawn.old)
    whole = ledger.stamped(ledger.together(rows, gone), run.before, datetime.now(UTC), run.prepare_id)
    for line in count_unmatched(run.listings, whole):
        warn(line)
    entries = ledger.write(run.home, whole, run.inherited("ledger"))
    ledger.check_complete(whole, entries, {listing.name: listing.count for listing in run.listings})
    ledger.check_names(whole)
    parts = {"pixels": pixels, "records": records, "features": features, "ledger": entries}
    return {"format": versions.FORMAT} | describe(run, whole, splits, stored, parts)


def check_labels(run: Run) -> None:
    """Raises DataRefused where no label can reach an image."""
    known = [listing.known for listing in run.listings]
    labelled = sum(int(one.labelled.sum()) for one in known)
    undetected = sum(int(one.undetected.sum()) for one in known) if run.data.event_labels == "with_box" else 0
    event_labels.check_labels(labelled, undetected)


def take(run: Run, withdrawn: Withdrawn) -> tuple[list[Item], Held]:
    """Every item and what is held of it, after reading those that the parent lacks. Where withdrawn bytes came to light
    the items that held them are cut again without them; no other is read twice."""
    while True:
        items = [item for listing in run.listings for item in cut_items(listing, run.data)]
        held = inherited(items, run.before, run.inherited("pixels"), run.needed)
        read_pixels(run, [item for item in items if item.identity not in held.parts], held)
        if not found_by_reading(items, held, withdrawn):
            return items, held


def account(run: Run, items: list[Item], held: Held, clocks: ClockFlags) -> ledger.Ledger:
    """Ledger rows of every file of every survey. Raises DataRefused where too many are bad."""
    rows: dict[str, pa.Table] = {}
    for listing in run.listings:
        planned = [item for item in items if item.survey == listing.name]
        own = ledger_rows(listing, planned, held, run.data, clocks[listing.name])
        ledger.check_quality(listing.name, own, run.data.max_bad_share)
        rows[listing.name] = own
    return rows


def split(run: Run, rows: ledger.Ledger) -> Split:
    """The split of every readable file."""
    return assign(run.data.split, placed(run.listings, rows, run.before), run.pinned)


def read_pixels(run: Run, items: list[Item], held: Held) -> None:
    """Reads the items that the parent lacks and adds them to `held`."""
    receipts = run.work.child("pixels")
    parts = {(part["survey"], part["item"]): part for part in run.inherited("pixels")}

    def task(item: Item) -> PixelTask:
        files = item.listing.files.entries(item.files)
        ids, sizes = item.listing.known.ids_of(item.files), item.listing.known.sizes(item.files)
        own, labelled = cuts(item.listing, item.files, run.data)
        asked = [
            (own.get(entry.key, ()), size, entry.key in labelled) for entry, size in zip(files, sizes, strict=True)
        ]
        return PixelTask(
            item=item.identity,
            survey=item.survey,
            archive=item.listing.settings.store(),
            home=run.home,
            receipt=receipts,
            files=[File(entry, media_id, *cut) for entry, media_id, cut in zip(files, ids, asked, strict=True)],
            settings=run.data.pixels,
            unchanged=unchanged(item, run.read_before, parts, run.data, run.needed),
            margin=run.data.crops.margin if run.data.crops else 0.0,
        )

    tasks = Made(task, {f"{item.identity}.parquet": item for item in items})
    outcomes = Counter[str]()
    with run.progress("prepare", total=sum(len(item.files) for item in items), unit="images") as progress:
        for data in run.perform("pixels", ReadPixels, (), tasks, lambda data: PixelReceipt.from_bytes(data).part):
            receipt = PixelReceipt.from_bytes(data)
            held.add(receipt)
            outcomes.update(reason or "ok" for reason in receipt.outcomes["reason"].to_pylist())
            progress.update(outcomes.total(), **outcomes)


def parent_attributes(run: Run) -> Vocabulary:
    entry = next((one for one in run.inherited("vocabularies") if one["kind"] == "attributes"), None)
    return json.loads(run.home.read(entry["path"]))["attributes"] if entry else {}


def write_records(
    run: Run, items: list[Item], held: Held, codes: Codes, words: Vocabulary, names: Lexicon, clocks: ClockFlags
) -> list[dict[str, Any]]:
    """Entries of the record parts, in the order of `items`; those the parent holds under the same id are inherited."""

    def task(item: Item, identity: str | None = None) -> RecordsTask:
        part, files = held.parts[item.identity], held.ok(item)
        assert part is not None
        media = item.listing.known.media(files)
        flags = at(clocks[item.survey], item.listing.files.media[files], None)
        own = {key: ASSIGNED[one] for key, one in zip(media, codes[item.survey][files].tolist(), strict=True)}
        flags = dict(zip(media, flags.tolist(), strict=True))
        known_names = names.about(row for one in media.values() for row in one.observations)
        return RecordsTask(
            identity=identity or records_id(part, media, own, flags, run.data, known_names),
            survey=item.survey,
            item=item.identity,
            home=run.home,
            receipt=run.work.child("records"),
            pixel_part=part["path"],
            media=media,
            place_names=item.listing.settings.place_names,
            splits=own,
            clock_flags=flags,
            vocabulary=words,
            lexicon=known_names,
            captions=run.data.captions,
            pixels=run.data.pixels,
            crops=run.data.crops,
            threshold=run.data.detector_threshold,
            undetected=run.data.event_labels == "always",
        )

    known = {part["records_id"]: part for part in run.inherited("records")}
    planned = {task(item).identity: item for item in items}
    new = {f"{identity}.json": (item, identity) for identity, item in planned.items() if identity not in known}
    tasks = Made(lambda one: task(*one), new)
    made = [json.loads(receipt) for receipt in run.perform("records", WriteRecords, (), tasks, light=True)]
    known |= {part["records_id"]: part for part in made}
    return [known[identity] for identity in planned]


def wordpiece_json(run: Run, records: list[dict[str, Any]]) -> str:
    """The parent's WordPiece vocabulary, grown where its captions have characters that it lacks, so that weights of
    words stay those of the same words in later versions; a new one where there is no parent, or one of another size."""
    size = run.data.vocabulary_size
    if run.parent is None or run.parent["prepare"]["settings"]["vocabulary_size"] != size:
        return vocabularies.train_wordpiece(run.home, records, size)
    entry = next(one for one in run.parent["vocabularies"] if one["kind"] == "wordpiece")
    document = run.home.read(entry["path"]).decode()
    if [part["path"] for part in run.parent["records"]] == [part["path"] for part in records]:
        return document
    return vocabularies.grow_wordpiece(document, run.home, records)


def check_stored(run: Run, content: versions.Document) -> None:
    """Asks the store for every part that the parent does not name. Raises Failed where one is not there as written."""
    old = {entry["path"] for entry in versions.entries(run.parent)} if run.parent else set()
    new = [entry for entry in versions.entries(content) if entry["path"] not in old]
    with ThreadPoolExecutor(16) as pool:
        for entry, there in zip(new, pool.map(run.stored, new), strict=True):
            if not there:
                raise Failed(f"{run.home.url}/{entry['path']}: not stored as it was written; run again")
