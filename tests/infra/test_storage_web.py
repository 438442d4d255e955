"""Files at https:// addresses: what is fetched, and every way in which metadata could lead somewhere they must not."""

import http.server
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.process import free_ports
from infra.storage import Linked, NotFound, Unreachable, Unreadable, Web, host_of, is_address, open_store
from infra.storage.address import is_public
from tests.infra.secure_server import SecureServer, body, redirect, secure_server


def loopback(address: str) -> bool:
    return address in ("127.0.0.1", "::1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    with secure_server(tmp_path_factory.mktemp("tls")) as running:
        yield running


def web(server: SecureServer, *hosts: str, **changes: object) -> Web:
    return Web(frozenset(hosts or [server.host]), **({"allows": loopback, "context": server.context} | changes))  # type: ignore[arg-type]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Unreadable) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value.reason


def test_a_file_with_what_its_server_says_of_it(server: SecureServer) -> None:
    server.answers["/a.jpg"] = body(b"bytes", ETag='"v1"', Last_Modified="Thu, 01 Jan 2026 10:00:00 GMT")
    url = server.url("/a.jpg")
    entry = web(server).head(url)
    assert entry is not None
    assert (entry.key, entry.size, entry.etag) == (url, 5, '"v1"')
    assert entry.modified.isoformat() == "2026-01-01T10:00:00+00:00"
    assert web(server).read(url) == b"bytes"
    assert server.asked[-2:] == [("HEAD", "/a.jpg", server.host), ("GET", "/a.jpg", server.host)]


def test_a_server_that_says_little(server: SecureServer) -> None:
    def chunked(request: http.server.BaseHTTPRequestHandler) -> None:
        request.protocol_version = "HTTP/1.1"
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    def ranged(request: http.server.BaseHTTPRequestHandler) -> None:
        if request.command == "HEAD":
            body(b"", 405)(request)
        else:
            assert request.headers["Range"] == "bytes=0-0"
            body(b"a", 206, Content_Range="bytes 0-0/1234", Last_Modified="Thu, 01 Jan 2026 10:00:00 GMT")(request)

    server.answers |= {"/chunked": chunked, "/ranged": ranged}
    entry = web(server).head(server.url("/chunked"))
    assert entry is not None and (entry.size, entry.etag, entry.modified.timestamp()) == (0, "", 0)
    assert web(server).read(server.url("/chunked")) == b"abcde"
    entry = web(server).head(server.url("/ranged"))
    assert entry is not None and (entry.size, entry.etag) == (1234, "Thu, 01 Jan 2026 10:00:00 GMT")


def test_a_path_as_it_is_written(server: SecureServer) -> None:
    server.answers["/a%20b/%C3%BC.jpg?x=1&y=%2F"] = body(b"1")
    assert web(server).read(server.url("/a%20b/ü.jpg?x=1&y=%2F#part")) == b"1"
    assert web(server).read(server.url("/a b/%C3%BC.jpg?x=1&y=%2F")) == b"1"


def test_what_is_not_there_and_what_is_refused(server: SecureServer) -> None:
    for status in (404, 410):
        server.answers["/gone"] = body(b"", status)
        assert web(server).head(server.url("/gone")) is None
        with pytest.raises(NotFound, match="/gone: no such file"):
            web(server).read(server.url("/gone"))
    for status in (401, 402, 403, 451):
        server.answers["/closed"] = body(b"", status)
        assert refusal(lambda: web(server).head(server.url("/closed"))) == "unreadable"
        assert refusal(lambda: web(server).read(server.url("/closed"))) == "unreadable"


def test_hosts_that_are_not_allowed_are_not_asked(server: SecureServer) -> None:
    before = len(server.asked)
    for address in (
        server.url("/a.jpg", "127.0.0.1"),  # the same machine by another name
        "https://localhost/a.jpg",  # another port
        f"https://evil.localhost:{server.port}/a.jpg",
        f"https://{server.host}.evil.example/a.jpg",
        f"https://user:secret@{server.host}/a.jpg",
        f"http://{server.host}/a.jpg",
        f"ftp://{server.host}/a.jpg",
        "file:///etc/passwd",
        "https://[::1]/a.jpg",
        "https:///a.jpg",
    ):
        assert refusal(lambda address=address: web(server).read(address)) == "host_not_allowed"
    assert len(server.asked) == before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0"])
def test_names_of_this_machine_are_refused_although_their_host_is_allowed(server: SecureServer, host: str) -> None:
    """With the rule that production has."""
    allowed = Web(frozenset([f"{host}:{server.port}"]), context=server.context)
    before = len(server.asked)
    assert refusal(lambda: allowed.read(server.url("/a.jpg", host))) == "address_refused"
    assert len(server.asked) == before


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.1.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:8.8.8.8", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
        ("2001:db8::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_no_more_public_inside_an_ipv6_one(address) -> None:
    for prefix in ("::ffff:", "::", "64:ff9b::"):
        assert not is_public(f"{prefix}{address}")


def test_every_address_of_a_name_must_be_public(server: SecureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with one good and one bad address gets no connection; the resolver is the only thing replaced here."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, server.port)) for place in ("127.0.0.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    before = len(server.asked)
    assert refusal(lambda: web(server).read(server.url("/a.jpg"))) == "address_refused"
    assert len(server.asked) == before


def test_a_name_is_looked_up_once_and_the_connection_goes_to_that_address(
    server: SecureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a second look-up would answer with another address. TLS still proves the name, not the address."""
    server.answers["/a.jpg"] = body(b"bytes")
    real, looked_up = socket.getaddrinfo, []

    def rebinding(host: str, *rest: object, **options: object) -> object:
        looked_up.append(host)
        return real("10.255.255.1" if looked_up.count("localhost") > 1 else "127.0.0.1", *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert web(server).read(server.url("/a.jpg")) == b"bytes"
    assert looked_up.count("localhost") == 1


def test_the_name_must_be_the_certificates(server: SecureServer, tmp_path: Path) -> None:
    by_number = web(server, f"127.0.0.1:{server.port}")
    assert refusal(lambda: by_number.read(server.url("/a.jpg", "127.0.0.1"))) == "bad_certificate"
    unknown = web(server, context=ssl.create_default_context())
    assert refusal(lambda: unknown.read(server.url("/a.jpg"))) == "bad_certificate"
    with secure_server(tmp_path, "other.example") as other:
        assert refusal(lambda: web(other).read(other.url("/a.jpg"))) == "bad_certificate"
        assert other.asked == []


def test_redirects_are_followed_where_they_may_lead(server: SecureServer) -> None:
    server.answers |= {
        "/file": body(b"bytes", ETag="e"),
        "/1": redirect("/2", 301),
        "/2": redirect(server.url("/3"), 307),
        "/3": redirect("file", 308),
    }
    assert web(server).read(server.url("/1")) == b"bytes"
    entry = web(server).head(server.url("/1"))
    assert entry is not None and (entry.key, entry.etag) == (server.url("/1"), "e")


def test_redirects_out_of_the_allowed_hosts(server: SecureServer, tmp_path: Path) -> None:
    with secure_server(tmp_path) as other:
        other.answers["/secret"] = body(b"secret")
        for target in (
            other.url("/secret"),
            "http://169.254.169.254/latest/meta-data",
            f"http://{server.host}/a.jpg",
            "file:///etc/passwd",
            "gopher://x",
            "https://user@" + server.host + "/file",
            "//10.0.0.1/x",
        ):
            server.answers["/out"] = redirect(target)
            assert refusal(lambda: web(server).read(server.url("/out"))) == "redirect_refused"
        assert other.asked == []
        both = web(server, server.host, other.host, allows=lambda place: not other.asked and loopback(place))
        server.answers["/out"] = redirect(other.url("/secret"))
        assert refusal(lambda: both.read(server.url("/out"))) == "bad_certificate"  # each hop proves its name


def test_a_redirect_to_an_allowed_name_with_a_private_address(
    server: SecureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: real("10.0.0.1" if host == "inside" else host, *rest, **more)
    )
    server.answers["/in"] = redirect("https://inside/")
    assert refusal(lambda: web(server, server.host, "inside").read(server.url("/in"))) == "address_refused"


def test_redirects_without_end(server: SecureServer) -> None:
    server.answers["/round"] = redirect("/round")
    before = len(server.asked)
    assert refusal(lambda: web(server).read(server.url("/round"))) == "redirect_refused"
    assert len(server.asked) - before == 6


def test_size_is_capped_stated_or_not(server: SecureServer) -> None:
    def endless(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(100_000))

    server.answers |= {"/stated": body(bytes(1001)), "/fits": body(bytes(1000)), "/endless": endless}
    small = web(server, most_bytes=1000)
    assert refusal(lambda: small.head(server.url("/stated"))) == "too_large"
    assert refusal(lambda: small.read(server.url("/stated"))) == "too_large"
    assert refusal(lambda: small.read(server.url("/endless"))) == "too_large"
    assert len(small.read(server.url("/fits"))) == 1000


@pytest.mark.parametrize("where", ["headers", "body"])
def test_time_is_capped_for_a_server_that_sends_a_byte_now_and_then(server: SecureServer, where: str) -> None:
    stop = threading.Event()

    def dripping(request: http.server.BaseHTTPRequestHandler) -> None:
        if where == "body":
            request.send_response(200)
            request.end_headers()
        while not stop.wait(0.05):
            request.wfile.write(b"x")
            request.wfile.flush()

    server.answers["/drip"] = dripping
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        web(server, seconds=0.6).read(server.url("/drip"))
    stop.set()
    assert time.monotonic() - begun < 8


@pytest.fixture(params=["silent", "dripping"])
def slow_handshake(request: pytest.FixtureRequest) -> Iterator[str]:
    """Host of a server that takes connections and never finishes a handshake."""
    stop = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.sendall(b"\x16\x03\x03\x3f\xff" if request.param == "dripping" else b"")  # begins a long record
            while not stop.wait(0.05):
                client.sendall(b"\0" if request.param == "dripping" else b"")

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"localhost:{listener.getsockname()[1]}"
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)


def test_time_to_connect_is_capped_too(server: SecureServer, slow_handshake: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="localhost does not answer"):
        web(server, slow_handshake, seconds=0.6).read(f"https://{slow_handshake}/x")
    assert time.monotonic() - begun < 4


def test_repeats_are_within_the_time_and_a_host_that_used_it_up_is_asked_once(server: SecureServer) -> None:
    server.answers |= {"/ok": body(b"1"), "/busy": body(b"", 503)}
    patient = web(server, seconds=0.8)
    assert patient.read(server.url("/ok")) == b"1"

    def asked() -> tuple[float, int]:
        begun, before = time.monotonic(), len(server.asked)
        with pytest.raises(Unreachable):
            patient.read(server.url("/busy"))
        return time.monotonic() - begun, len(server.asked) - before

    seconds, requests = asked()
    assert seconds < 4 and requests > 1
    assert [asked()[1] for _ in range(3)] == [1, 1, 1]
    assert patient.read(server.url("/ok")) == b"1"
    assert asked()[1] > 1, "it has answered again"


def test_a_body_that_breaks_off_is_no_file(server: SecureServer) -> None:
    server.answers["/short"] = body(b"half", Content_Length="8")
    with pytest.raises(Unreachable, match="no whole answer"):
        web(server).read(server.url("/short"))


def test_a_busy_server_is_asked_again_if_it_has_answered_before(server: SecureServer) -> None:
    server.answers["/ok"] = body(b"1")
    patient = web(server)
    assert patient.read(server.url("/ok")) == b"1"
    left = [503, 429, 500]
    server.answers["/busy"] = lambda request: body(b"2", left.pop() if left else 200)(request)
    assert patient.read(server.url("/busy")) == b"2"
    left = [503]
    with pytest.raises(Unreachable, match="cannot answer now"):
        web(server).read(server.url("/busy"))
    worker = pickle.loads(pickle.dumps(Web(frozenset(["a.example"]))))
    assert worker == Web(frozenset(["a.example"]))


def test_a_host_that_does_not_answer(server: SecureServer) -> None:
    (port,) = free_ports(1)
    for host in (f"localhost:{port}", "no-such-name.invalid"):
        with pytest.raises(Unreachable) as caught:
            web(server, host).read(f"https://{host}/x")
        assert "\n" not in str(caught.value)


def test_how_hosts_are_written() -> None:
    assert host_of("https://Example.ORG/x") == "example.org"
    assert host_of("https://example.org.:443/x") == "example.org"
    assert host_of("HTTPS://example.org:8443") == "example.org:8443"
    assert host_of("https://bücher.example/") == "xn--bcher-kva.example"
    for wrong in ("http://x/", "https://", "https://a@b/", "https://x:99999/", "https://[::1]/", "x", "https://a..b/"):
        with pytest.raises(ValueError):
            host_of(wrong)
    assert is_address("https://x/y") and is_address("HTTPS://x") and not is_address("images/https://x")


def test_a_linked_store_reads_both(server: SecureServer, tmp_path: Path) -> None:
    server.answers["/a.jpg"] = body(b"0123456789", ETag="e")
    store = Linked(open_store(str(tmp_path)), web(server))
    store.put("own.jpg", b"own")
    url = server.url("/a.jpg")
    assert [entry.key for entry in store.list()] == ["own.jpg"]
    assert (store.read("own.jpg"), store.read(url), store.read_range(url, 3, 4)) == (b"own", b"0123456789", b"3456")
    with store.open(url) as file:
        assert file.read(2) == b"01"
    assert store.hosts == {server.host} and store.child("below").hosts == store.hosts
    assert not open_store(str(tmp_path)).hosts
    head = store.head(url)
    assert head is not None and head.etag == "e"
