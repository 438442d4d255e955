"""What only S3 has: wrong addresses and credentials, outages, odd keys of other servers, forked processes."""

import bisect
import http.server
import itertools
import os
import pickle
import re
import signal
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from infra.process import free_ports
from infra.seaweed import SeaweedServer
from infra.storage import Denied, NotFound, S3Store, Unreachable, Unreadable, open_store

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
    assert time.monotonic() - begun > 0.6


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


ELSEWHERE = [
    "a//b",
    "/a",
    "a/./b",
    "a/../b",
    "dir/",
    "new\nline",
    "del\x7f",
    "back\\slash",
    "dot.",
    "a%2Fb",
    "x" * 1000,
]
"""Keys that AWS keeps as they are, and SeaweedFS, obstore or both do not."""


def test_keys_that_only_other_servers_have(monkeypatch):
    """The listing names them exactly, and every read asks for exactly this key."""
    server = Listing({f"p/{key}": 5 for key in ELSEWHERE} | {"p/": 0, "p/marker/": 0, "p/.xmodal-x": 5})
    fake_credentials(monkeypatch)
    store = open_store("s3://bucket/p", endpoint=server.start())
    assert [found.key for found in store.list()] == sorted(ELSEWHERE)
    for key in ELSEWHERE:
        server.asked.clear()
        assert store.read(key) == store.read_range(key, 0, 5) == b"bytes"
        with store.open(key) as file:
            assert file.read() == b"bytes"
        found = store.head(key)
        assert found is not None and (found.key, found.size) == (key, 5)
        assert {urllib.parse.unquote(path) for path, _ in server.asked} == {f"/bucket/p/{key}"}


@pytest.mark.parametrize("key", ELSEWHERE)
def test_first_contact_may_be_by_any_key(monkeypatch, key):
    fake_credentials(monkeypatch)
    assert open_store("s3://bucket/p", endpoint=Listing({f"p/{key}": 5}).start()).read(key) == b"bytes"


def test_a_server_that_refuses_an_odd_key_refuses_this_key_only(bucket_url):
    store = open_store(bucket_url)
    store.put("ok", b"1")
    for key in ("a/./b", "a/../b"):
        with pytest.raises(Unreadable, match="does not take this key"):
            store.read(key)
    assert store.read("ok") == b"1"


def test_what_seaweedfs_lists_it_gives(bucket_url):
    """What is listed can be read. Its limits: it lists `a//b` as `a/b` and turns `\\` to `/`."""
    store = open_store(bucket_url)
    assert isinstance(store, S3Store)
    odd = ["a//b", "back\\slash", "new\nline", "cr\rlf", "tab\t", "dot.", "...", "del\x7f", " ", "<&>", "%2F", "q?x=1"]
    odd += ["k" * 255, "/".join(["m" * 200] * 4 + ["m" * 180])]
    for key in odd:
        full = f"{store.prefix}/{key}"
        store.connection.files.call_s3("put_object", Bucket=store.connection.bucket, Key=full, Body=key.encode())
    listed = {entry.key: store.read(entry.key) for entry in store.stream()}
    assert set(listed.values()) == {key.encode() for key in odd}
    assert {key for key in odd if listed.get(key) != key.encode()} == {"a//b", "back\\slash"}


def test_requester_pays_is_said_with_every_request(monkeypatch):
    server = Listing({"p/a": 5, "p/x//y": 5}, pays=True)
    fake_credentials(monkeypatch)
    endpoint = server.start()
    with pytest.raises(Denied, match="AccessDenied"):
        open_store("s3://bucket/p", endpoint=endpoint).read("a")
    store = open_store("s3://bucket/p", endpoint=endpoint, requester_pays=True)
    worker = pickle.loads(pickle.dumps(store))
    for reader in (store, worker):
        assert [entry.key for entry in reader.list()] == ["a", "x//y"]
        for key in ("a", "x//y"):
            assert reader.read(key) == reader.open(key).read() == reader.read_range(key, 0, 5) == b"bytes"
            assert reader.head(key) is not None
    with pytest.raises(Denied, match="pyarrow cannot ask to pay"):
        store.filesystem()


def test_a_public_bucket_needs_no_credentials_in_any_client(public, monkeypatch):
    for name, value in public.environment().items():
        monkeypatch.setenv(name, value)
    for bucket in ("open", "shut"):
        open_store(f"s3://{bucket}/p").put("a", b"1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = open_store("s3://open/p", anonymous=True)
    system, path = store.filesystem()
    assert [entry.key for entry in store.list()] == ["a"]
    assert store.read("a") == store.open("a").read() == store.read_range("a", 0, 1) == b"1"
    assert system.open_input_file(f"{path}/a").read() == b"1"
    for call in (lambda: list(open_store("s3://shut/p", anonymous=True).list()), lambda: store.put("b", b"1")):
        with pytest.raises(Denied, match="AccessDenied"):
            call()


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    with SeaweedServer(tmp_path_factory.mktemp("public"), ["open", "shut"], ["open"]) as server:
        yield server


@pytest.mark.slow
def test_idempotent_calls_outlast_a_kill_and_a_restart(public, monkeypatch):
    """SIGKILL and a new start on the same directory, in the middle of reads, listings and puts."""
    for name, value in public.environment().items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://shut/killed")
    store.put("k", b"1")
    waiting = pickle.loads(pickle.dumps(store))
    public.crash()
    calls = [
        lambda: store.read("k"),
        lambda: [entry.key for entry in waiting.list()],
        lambda: waiting.put("k2", b"2"),
        lambda: store.open("k").read(),
        lambda: store.head("k"),
        lambda: store.delete(["absent"]),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
        with pytest.raises(Unreachable):
            store.create("never", b"1")
        public.restart()
        results = [one.result() for one in running]
    assert results[0] == results[3] == b"1" and set(results[1]) in ({"k"}, {"k", "k2"}) and results[4] is not None
    assert store.read("k2") == b"2"


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (429, ""), (400, "RequestTimeout")])
def test_a_server_that_asks_for_a_later_attempt_gets_one(monkeypatch, status, code):
    server = Listing({"p/a": 5, "p/x//y": 5})
    fake_credentials(monkeypatch)
    store = open_store("s3://bucket/p", endpoint=server.start())
    assert store.read("a") == b"bytes"
    for call in (lambda: store.read("a"), lambda: store.read("x//y"), lambda: len(list(store.list()))):
        server.refusals = [(status, code)] * 2
        assert call() in (b"bytes", 2) and not server.refusals


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (403, "InvalidObjectState")])
def test_what_concerns_one_object_is_told_apart(monkeypatch, status, code):
    server = Listing({"p/a": 5})
    fake_credentials(monkeypatch)
    store = open_store("s3://bucket/p", endpoint=server.start())
    assert store.read("a") == b"bytes"
    server.refusals = [(status, code)]
    with pytest.raises(Unreadable, match=code):
        store.read("a")
    server.refusals = [(status, code)]
    with pytest.raises(Unreadable, match="403"):
        store.open("a")  # by HEAD, whose answer has no code
    server.refusals = [(403, "InvalidAccessKeyId")]
    with pytest.raises(Denied) as caught:
        store.read("a")
    assert not isinstance(caught.value, Unreadable)


def test_an_object_that_changes_while_it_is_read(bucket_url):
    store = open_store(bucket_url)
    store.put("k", bytes(100_000))
    file = store.open("k")
    assert file.read(10) == bytes(10)
    store.put("k", b"\1" * 100_000)
    with pytest.raises(Unreadable, match="k: was changed while it was read; run again"):
        file.seek(90_000)
        file.read(10)


def test_a_jump_costs_a_small_range_and_a_straight_read_few_requests(monkeypatch):
    size = 100 << 20
    server = Listing({"p/big": size})
    fake_credentials(monkeypatch)
    store = open_store("s3://bucket/p", endpoint=server.start())
    with store.open("big") as file:
        server.asked.clear()
        for position in range(0, size, 10 << 20):
            file.seek(position)
            assert len(file.read(512)) == 512
        assert len(server.asked) == 10 and sum(length for _, length in server.asked) <= 10 << 16
        server.asked.clear()
        file.seek(0)
        while file.read(1 << 16):
            pass
    assert len(server.asked) < 30


def test_pages_are_asked_for_one_after_the_other(monkeypatch):
    fake_credentials(monkeypatch)
    server = Listing({f"p/{number:04d}.jpg": 1 for number in range(2_500)})
    found = open_store("s3://bucket/p", endpoint=server.start()).stream()
    for position in range(2_500):
        assert next(found).key == f"{position:04d}.jpg"
        assert server.pages == position // 1000 + 1
    assert next(found, None) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_streaming_holds_no_more_for_ten_times_the_keys(monkeypatch):
    """Held, the entries of 1e5 keys take some 50 MB."""
    fake_credentials(monkeypatch)
    servers = [Listing({f"p/{n // 1000}/{n:07d}.jpg": 1 for n in range(count)}) for count in (10_000, 10_000, 100_000)]
    used = []
    for server in servers:
        store = open_store("s3://bucket/p", endpoint=server.start())
        assert sum(1 for _ in store.stream()) == len(server.keys)
        used.append(psutil.Process().memory_info().rss)
    assert used[2] - used[1] < 15 << 20


def fake_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")


class Listing:
    """Only what AWS does and SeaweedFS does not: a server of objects under any keys, listed in pages of 1,000. Those of
    `bodies` hold what is given there; `signed` is what requests gave for their authorisation."""

    def __init__(self, sizes: dict[str, int], pays: bool = False, bodies: dict[str, bytes] | None = None) -> None:
        self.bodies = bodies or {}
        self.sizes, self.pays = sizes | {key: len(data) for key, data in self.bodies.items()}, pays
        self.signed: list[str | None] = []
        self.keys = sorted(self.sizes)
        self.asked: list[tuple[str, int]] = []
        self.refusals: list[tuple[int, str]] = []
        self.pages = 0

    def start(self) -> str:
        listing = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, data, headers = listing.answer(self.path, self.headers)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                return

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def answer(self, path: str, headers) -> tuple[int, bytes, dict[str, str]]:
        place, _, query = path.partition("?")
        key = urllib.parse.unquote(place).removeprefix("/bucket/")
        self.signed.append(headers.get("Authorization"))
        if self.pays and headers.get("x-amz-request-payer") != "requester":
            return 403, b"<Error><Code>AccessDenied</Code></Error>", {}
        if self.refusals and "xmodal-absent" not in path:
            status, code = self.refusals.pop()
            return status, f"<Error><Code>{code}</Code></Error>".encode(), {}
        if "list-type=2" in query:
            return 200, self.page(urllib.parse.parse_qs(query)), {}
        if key not in self.sizes:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", {}
        return self.object(place, key, headers.get("Range"))

    def object(self, place: str, key: str, wanted: str | None) -> tuple[int, bytes, dict[str, str]]:
        size = self.sizes[key]
        start, end = (int(part) for part in wanted[6:].split("-")) if wanted else (0, size - 1)
        unsaid = (b"bytes" if size == 5 else bytes(min(end, size - 1) + 1 - start))[: end + 1]
        data = self.bodies[key][start : end + 1] if key in self.bodies else unsaid
        self.asked.append((place, len(data)))
        facts = {"ETag": '"e"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Content-Length": str(len(data))}
        ranged = {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{size}"} if wanted else {}
        return 206 if wanted else 200, data, facts | ranged

    def page(self, query: dict[str, list[str]]) -> bytes:
        self.pages += 1
        prefix, after = query["prefix"][0], query.get("continuation-token", [""])[0]
        first = bisect.bisect_right(self.keys, after)
        found = [key for key in itertools.islice(self.keys, first, first + 1000) if key.startswith(prefix)]
        facts = "<ETag>e</ETag><LastModified>2026-01-01T00:00:00Z</LastModified>"
        contents = "".join(
            f"<Contents><Key>{urllib.parse.quote(key)}</Key><Size>{self.sizes[key]}</Size>{facts}</Contents>"
            for key in found
        )
        more = len(found) == 1000
        token = f"<NextContinuationToken>{found[-1]}</NextContinuationToken>" if more else ""
        told = f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{told}{token}{contents}</ListBucketResult>".encode()


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
