"""A key that may read the archives and write the work bucket, and no more, is enough; nothing else is granted it."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.seaweed import SeaweedServer
from infra.storage import AlreadyExists, Denied, Store, open_store
from pipelines.prepare import flow
from pipelines.prepare.workers import InProcess
from pipelines.recipe import Recipe
from tests.pipelines.road import document
from tests.pipelines.surveys import write_survey
from xmodal.settings import parse

pytestmark = pytest.mark.services

ARCHIVE, WORK, OTHER = "surveys", "work", "payroll"


class Granting(SeaweedServer):
    """Beside its own, a second pair of keys with the rights of infra/policies: archives read, the root written."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, [ARCHIVE, WORK, OTHER])
        self.job = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}

    def identities(self) -> list[dict[str, Any]]:
        rights = [f"Read:{ARCHIVE}", f"List:{ARCHIVE}", f"Read:{WORK}", f"List:{WORK}", f"Write:{WORK}"]
        return [*super().identities(), {"name": "job", "credentials": [self.job], "actions": rights}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Granting]:
    with Granting(tmp_path_factory.mktemp("s3")) as running:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in running.environment().items():
                patch.setenv(name, value)
            write_survey(open_store(f"s3://{ARCHIVE}/tiny"))
            open_store(f"s3://{OTHER}").put("wages.csv", b"1")
        yield running


@pytest.fixture(autouse=True)
def _as_the_job(server: Granting, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"AWS_ACCESS_KEY_ID": server.job["accessKey"], "AWS_SECRET_ACCESS_KEY": server.job["secretKey"]}
    for name, value in (server.environment() | own).items():
        monkeypatch.setenv(name, value)


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(Denied) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_an_archive_is_read_and_never_written() -> None:
    store = open_store(f"s3://{ARCHIVE}/tiny")
    (first, *_) = store.list()
    assert store.read(first.key)
    refused(lambda: open_store(f"s3://{ARCHIVE}/tiny").put("new.csv", b"1"))
    refused(lambda: open_store(f"s3://{ARCHIVE}/tiny").put(first.key, b"1"))
    refused(lambda: open_store(f"s3://{ARCHIVE}/tiny").create("new.json", b"1"))
    refused(lambda: open_store(f"s3://{ARCHIVE}/tiny").delete([first.key]))
    assert store.read(first.key), "it is still there"


@pytest.mark.parametrize(
    "call",
    [lambda store: store.read("wages.csv"), lambda store: list(store.list()), lambda store: store.put("x", b"1")],
)
def test_other_buckets_are_closed(call: Callable[[Store], object]) -> None:
    refused(lambda: call(open_store(f"s3://{OTHER}")))


def test_what_the_root_needs_is_allowed_and_an_object_is_created_once() -> None:
    store = open_store(f"s3://{WORK}/objects")
    store.create("one", b"1")
    with pytest.raises(AlreadyExists):
        store.create("one", b"2")
    store.put("one", b"3")
    assert store.read("one") == b"3" and [entry.key for entry in store.list()] == ["one"]
    store.delete(["one"])


def test_prepare_needs_no_more(server: Granting) -> None:
    root = f"s3://{WORK}/root"
    recipe = parse(Recipe, document(f"s3://{ARCHIVE}/tiny", root))
    store = recipe.compute.store()
    version = flow.prepare(recipe.data, store, recipe.model.image, recipe.model.text, workers=InProcess())
    assert version is not None and len(list(store.list("datasets"))) > 5
