"""What only S3 has: wrong addresses and credentials, outages, odd keys of other servers, forked processes."""

import http.server
import os
import pickle
import re
import signal
import threading
import time

import pytest

from infra.process import free_ports
from infra.seaweed import SeaweedServer
from infra.storage import Denied, NotFound, S3Store, Unreachable, open_store

pytestmark = pytest.mark.services


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error) and len(str(error)) < 300
    return str(error)


FIRST_CALLS = [
    lambda store: store.probe(),
    lambda store: store.read("k"),
    lambda store: store.open("k"),
    lambda store: list(store.list()),
    lambda store: store.put("k", b""),
    lambda store: store.filesystem(),
]


@pytest.mark.parametrize("call", FIRST_CALLS)
def test_wrong_endpoint_fails_within_seconds(bucket_url, call):
    (port,) = free_ports(1)
    begun = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        call(open_store(bucket_url, endpoint=f"http://127.0.0.1:{port}"))
    assert time.monotonic() - begun < 8
    assert f"no answer from http://127.0.0.1:{port}; check the endpoint" in one_line(caught.value)


def test_another_kind_of_server_is_named_as_such(bucket_url):
    server = serve(b"<html>hello</html>", 404)
    with pytest.raises(Unreachable, match="answers, but not as S3"):
        open_store(bucket_url, endpoint=server).read("k")


@pytest.mark.parametrize("call", FIRST_CALLS)
def test_wrong_secret(bucket_url, call, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Denied) as caught:
        call(open_store(bucket_url))
    assert "refuses (SignatureDoesNotMatch); check the AWS_* credentials" in one_line(caught.value)
    assert "wrong" not in str(caught.value)


def test_no_credentials(bucket_url, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Denied, match="no S3 credentials; set AWS_ACCESS_KEY_ID"):
        open_store(bucket_url).read("k")
    with pytest.raises(Denied, match=r"refuses \(AccessDenied\)"):
        open_store(bucket_url, anonymous=True).read("k")


@pytest.mark.parametrize("call", FIRST_CALLS)
def test_missing_bucket(bucket_url, call):
    with pytest.raises(NotFound) as caught:
        call(open_store("s3://no-such-bucket/prefix"))
    assert "s3://no-such-bucket: no such bucket at http://127.0.0.1" in one_line(caught.value)


def test_a_region_that_fits_nothing_still_works_with_an_endpoint(bucket_url):
    store = open_store(bucket_url, region="eu-north-1")
    store.put("k", b"1")
    assert store.read("k") == b"1"


def test_calls_that_may_be_repeated_outlast_an_outage(monkeypatch):
    """A worker gets a store that has answered before and finds the server down; what may not be repeated fails."""
    fake_credentials(monkeypatch)
    (port,) = free_ports(1)
    store = open_store("s3://bucket/p", endpoint=f"http://127.0.0.1:{port}")
    assert isinstance(store, S3Store)
    store.connection.answered = True
    worker = pickle.loads(pickle.dumps(store))
    with pytest.raises(Unreachable):
        worker.create("k", b"1")
    starting = threading.Timer(1.0, serve, [b"bytes", 200, port])
    starting.start()
    assert worker.read("k") == b"bytes"
    starting.join()


def test_patience_ends(monkeypatch):
    fake_credentials(monkeypatch)
    (port,) = free_ports(1)
    store = open_store("s3://bucket/p", endpoint=f"http://127.0.0.1:{port}", patience=0.5)
    assert isinstance(store, S3Store)
    store.connection.answered = True
    begun = time.monotonic()
    for call in (store.read, store.open, store.head):
        with pytest.raises(Unreachable):
            call("k")
    assert 1.0 < time.monotonic() - begun < 20


def test_a_stopped_server_is_waited_for(tmp_path, monkeypatch):
    with SeaweedServer(tmp_path, ["bucket"]) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://bucket/x")
        store.put("k", b"1")
        server.child.signal(signal.SIGSTOP)
        threading.Timer(1.0, server.child.signal, [signal.SIGCONT]).start()
        assert store.read("k") == b"1"


def test_a_forked_child_is_refused_instead_of_hanging(bucket_url):
    store = open_store(bucket_url)
    store.put("k", b"1")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            open_store(bucket_url).read("k")
        except RuntimeError as error:
            os.write(write_end, str(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    assert b"start processes by spawn" in os.read(read_end, 500)
    os.waitpid(child, 0)


def test_keys_that_only_other_servers_have(monkeypatch):
    """AWS keeps `//` and trailing slashes in keys: the listing names them exactly, folder markers apart."""
    keys = ["p/a//b", "p/a/./b", "p/dir/", "p/ok"]
    facts = "<Size>5</Size><ETag>e</ETag><LastModified>2026-01-01T00:00:00Z</LastModified>"
    entries = [f"<Contents><Key>{key}</Key>{facts}</Contents>" for key in keys]
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(entries)}</ListBucketResult>"
    endpoint = serve(body.encode(), 200)
    fake_credentials(monkeypatch)
    store = open_store("s3://bucket/p", endpoint=endpoint)
    assert [found.key for found in store.list()] == ["a/./b", "a//b", "ok"]
    with pytest.raises(NotFound, match="cannot be read over S3"):
        store.read("a//b")


def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")


def serve(body: bytes, status: int, port: int = 0) -> str:
    """Address of a server that answers every GET the same way, until the process ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            absent = b"<Error><Code>NoSuchKey</Code></Error>" if ".xmodal-absent" in self.path else None
            answer, code = (absent, 404) if absent and status == 200 else (body, status)
            self.send_response(code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(("kept", "method"), [((), "create"), (("If-None-Match",), "replace")])
def test_a_store_that_ignores_conditions_is_refused(monkeypatch, kept, method):
    """As some S3-like servers do: every later commit could overwrite another's."""
    fake_credentials(monkeypatch)
    with pytest.raises(Denied, match=r"s3://bucket/p: this store ignores conditional writes \(If-None-Match,"):
        open_store("s3://bucket/p", endpoint=careless(kept)).probe()


def careless(kept: tuple[str, ...]) -> str:
    """Address of a small S3 server in memory that heeds only the `kept` ones of the conditional headers."""
    objects: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path in objects and any(name in self.headers for name in kept):
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            objects[self.path] = data
            self._answer(200, b"", ETag=f'"{hash(data):x}"')

        def do_GET(self) -> None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def do_DELETE(self) -> None:
            self._answer(204, b"")

        def do_POST(self) -> None:
            keys = re.findall(rb"<Key>.*?</Key>", self.rfile.read(int(self.headers["Content-Length"])))
            deleted = b"".join(b"<Deleted>" + key + b"</Deleted>" for key in keys)
            self._answer(200, b"<DeleteResult>" + deleted + b"</DeleteResult>")

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
