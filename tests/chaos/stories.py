"""What is killed: small runs over the tiny survey, and how the state that they leave is told.

first: a dataset's first version, with the features of a frozen encoder. next: its second, after a file came, one
vanished and one may no longer be shown. gc: of both, the first version being retired, and of what a third run left that
was killed on its way (`left`): receipts, parts that no version names, half an upload, a lock.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from infra.storage import LocalStore, Store
from pipelines.dataset import Dataset, versions
from pipelines.gc import free
from pipelines.prepare import flow, items
from pipelines.prepare import versions as documents
from pipelines.prepare.workers import Workers
from tests.pipelines.surveys import IN_PROCESS, TEXT, settings, write_survey
from xmodal.encoders.hugging_face import HuggingFaceVision

LAST = {"first": 1, "next": 2, "gc": 2}
"""Stories in their order, each beginning where the one before it ends, and the newest version at its end."""
ARCHIVES = {"first": "1", "next": "2", "left": "3"}
LEFT_AT = 9, "unfinished"
"""Where the run dies that gc is to clean up after: in the upload of its first features."""
MOST = 24
"""Files of an item, so that the tiny survey has several."""
NAME = "tiny"
SHOWN, VANISHED, CAME = "true,IMG_0004.JPG", "images/place-02/IMG_0001.JPG", "images/place-01/NEW_0001.JPG"
LATER = "images/place-01/NEW_0002.JPG"
_TOWER = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
ENCODER = HuggingFaceVision(
    kind="hugging_face", config={"model_type": "vit", "image_size": 32, "patch_size": 16, **_TOWER}
)


def write_archives(store: Store) -> None:
    """The survey below `1/`, and below `2/` and `3/` as it is found later."""
    one, two, three = (store.child(name) for name in ARCHIVES.values())
    write_survey(one)
    _copy(one, two)
    two.delete([VANISHED])
    two.put("media.csv", one.read("media.csv").replace(SHOWN.encode(), SHOWN.replace("true", "false").encode(), 1))
    two.put(CAME, one.read("images/place-01/IMG_0001.JPG") + b"\0")
    _copy(two, three)
    three.put(LATER, one.read("images/place-01/IMG_0001.JPG") + b"\0\0")


def _copy(before: Store, after: Store) -> None:
    """With its times where it is a directory: they make the etags."""
    if isinstance(before, LocalStore) and isinstance(after, LocalStore):
        shutil.copytree(before.root, after.root)
        return
    for entry in before.list():
        after.put(entry.key, before.read(entry.key))


def tell(story: str, archives: str, root: Store, workers: Workers = IN_PROCESS, lease: float = 30.0) -> None:
    """Runs a story to its end, or until `root` kills the process."""
    if story == "gc":
        free(root, NAME, timedelta(0), lease)
        return
    data = settings(f"{archives}/{ARCHIVES[story]}")
    with small_items():
        flow.prepare(data, root, ENCODER, TEXT, workers=workers, lease=lease)


@contextmanager
def small_items() -> Iterator[None]:
    uncut = items.cut
    items.cut = partial(uncut, most=MOST)
    try:
        yield
    finally:
        items.cut = uncut


def state(root: Store) -> dict[str, Any]:
    """All that is stored of the dataset and its work, whenever and by whomever it was written."""
    home = root.child(f"datasets/{NAME}")
    found: dict[str, Any] = {"work": [entry.key for entry in root.list("work")], "versions": versions(root, NAME)}
    for entry in home.list():
        if entry.key.startswith("versions/"):
            found[entry.key] = _said(json.loads(home.read(entry.key)))
        elif not entry.key.startswith("ledger/"):  # its bytes hold when a row last changed
            found[entry.key] = home.read(entry.key)
    for version in found["versions"]:
        found[f"ledger of {version}"] = Dataset.open(root, NAME, version).ledger().drop_columns(["seen_at"]).to_pylist()
    found["ledger parts"] = sum(entry.key.startswith("ledger/") for entry in home.list())
    return found


def _said(document: dict[str, Any]) -> dict[str, Any]:
    """A document without times, names of owners, and what the ledger's times enter."""
    return {
        name: value
        for name, value in document.items()
        if name not in (*documents.UNIDENTIFYING, "retired_at", "ledger")
    } | {"version": document["version"], "parent": document["parent"]}


def lock(root: Store) -> dict[str, Any]:
    """Who holds the dataset's lock, and under which fence."""
    key = f"locks/prepare-{NAME}.json"
    return json.loads(root.read(key)) if root.head(key) else {"owner": None, "fence": 0}
