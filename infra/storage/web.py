"""Files at `https://` addresses: of hosts that somebody has allowed, and on public machines only.

Addresses that metadata name are not to be trusted: one could lead to a machine behind the firewall. So a name is looked
up once, every address it has must be public, and the connection goes to one of these and to no other (a second look-up
could answer otherwise) while TLS still proves the name. Each redirect starts over. Size and time are bounded (but for
the look-up of a name, which the system's resolver bounds). Proxies of the environment are not used. One connection a
request.
"""

import http.client
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3
from urllib3.connection import HTTPSConnection

from infra.storage.address import host_of, is_public
from infra.storage.contract import Entry, NotFound, Unreachable, Unreadable
from infra.storage.patience import Result, repeated

SILENCE_SECONDS = 10.0
"""Without a byte, after which a request counts as lost."""
MOST_REDIRECTS = 5
CHUNK = 1 << 16


@dataclass(frozen=True)
class Web:
    """The files of `hosts`, each as `host_of` writes it.

    allows: decides on each IP address. context: TLS's, default the system's. most_bytes: of one file. seconds: for one
    call, its connections, redirects and repeats included. patience: as of a Store, within these seconds, for a host
    that has answered before; after a call that failed it is asked once a call, until it answers.
    """

    hosts: frozenset[str]
    allows: Callable[[str], bool] = is_public
    context: ssl.SSLContext | None = None
    most_bytes: int = 256 << 20
    seconds: float = 120.0
    patience: float = 120.0
    _answered: set[str] = field(default_factory=set, compare=False, repr=False)

    def head(self, address: str) -> Entry | None:
        """Size, etag and time as far as the server states them (0, the time as text or empty, 1970); None: not there.

        Raises Unreadable with a reason (host_not_allowed, address_refused, redirect_refused, bad_certificate,
        too_large, unreadable), Unreachable."""
        try:
            return self._repeated(address, self._head)
        except NotFound:
            return None

    def read(self, address: str) -> bytes:
        """All bytes of a file. Raises NotFound, and what `head` raises."""
        return self._repeated(address, self._read)

    def _repeated(self, address: str, function: Callable[[str, float], Result]) -> Result:
        end = time.monotonic() + self.seconds
        patience = min(self.patience, self.seconds) if _name(address) in self._answered else 0.0
        try:
            return repeated(patience, lambda: function(address, end))
        except Unreachable:
            self._answered.discard(_name(address))  # thousands of files would wait as long
            raise

    def _head(self, address: str, end: float) -> Entry:
        with self._answer(address, "HEAD", end) as answer:
            if answer.status not in (400, 403, 405, 501):
                return _entry(address, self._checked(address, answer))
        with self._answer(address, "GET", end, {"Range": "bytes=0-0"}) as answer:  # some servers know no HEAD
            return _entry(address, self._checked(address, answer))

    def _read(self, address: str, end: float) -> bytes:
        with self._answer(address, "GET", end) as answer:
            self._checked(address, answer)
            data = bytearray()
            while chunk := answer.read1(CHUNK):
                data += chunk
                if len(data) > self.most_bytes:
                    raise self._too_large(address)
            return bytes(data)

    def _checked(self, address: str, answer: urllib3.BaseHTTPResponse) -> urllib3.BaseHTTPResponse:
        if answer.status in (408, 429) or answer.status >= 500:
            raise Unreachable(f"{address}: the server cannot answer now ({answer.status})")
        self._answered.add(_name(address))
        if answer.status in (404, 410):
            raise NotFound(f"{address}: no such file")
        if answer.status not in (200, 206):
            raise Unreadable(f"{address}: the server refuses ({answer.status})")
        if _size(answer) > self.most_bytes:
            raise self._too_large(address)
        return answer

    def _too_large(self, address: str) -> Unreadable:
        return Unreadable(f"{address}: more than {self.most_bytes} bytes", "too_large")

    @contextmanager
    def _answer(
        self, address: str, method: str, end: float, headers: dict[str, str] | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer behind all redirects; it must have been read by `end`."""
        asked = address
        for _ in range(MOST_REDIRECTS + 1):
            with self._asked(asked, method, headers or {}, end) as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    yield answer
                    return
                asked = urllib.parse.urljoin(asked, answer.headers.get("Location", ""))
            self._check_host(asked, "redirect_refused")
        raise Unreadable(f"{address}: more than {MOST_REDIRECTS} redirects", "redirect_refused")

    @contextmanager
    def _asked(
        self, address: str, method: str, headers: dict[str, str], end: float
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer of one server, redirect or not; what goes wrong on the way, in the block too, is Unreachable."""
        host = self._check_host(address, "host_not_allowed")
        parts = urllib.parse.urlsplit(address)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        sent = {"Host": host, "User-Agent": "xmodal", "Accept": "*/*", "Accept-Encoding": "identity"} | headers
        connection = self._connected(address, host, end)
        try:
            with _ended(connection.sock, end, host):
                connection.request(method, _quoted(target), headers=sent, preload_content=False, decode_content=False)
                yield connection.getresponse()
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            if isinstance(error, NotFound | Unreachable | Unreadable):
                raise
            raise Unreachable(f"{address}: no whole answer ({type(error).__name__})") from None
        finally:
            connection.close()

    def _check_host(self, address: str, reason: str) -> str:
        try:
            host = host_of(address)
        except ValueError as error:
            raise Unreadable(str(error), reason) from None
        if host not in self.hosts:
            raise Unreadable(f"{address}: {host} is not among the hosts that are allowed", reason)
        return host

    def _connected(self, address: str, host: str, end: float) -> HTTPSConnection:
        """A connection to one of the checked addresses of `host`; TLS proves the name all the same."""
        name, _, port = host.partition(":")
        try:
            found = socket.getaddrinfo(name, int(port or 443), type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f"{address}: {name} has no address ({error.strerror or error})") from None
        places = list(dict.fromkeys(str(one[4][0]) for one in found))
        if refused := [place for place in places if not self.allows(place)]:
            raise Unreadable(f"{address}: {name} leads to {refused[0]}, no public address", "address_refused")
        problems: list[OSError] = []
        for place in places:
            try:
                return self._connection(place, int(port or 443), name, end)
            except ssl.SSLCertVerificationError as error:
                raise Unreadable(f"{address}: {error.verify_message}", "bad_certificate") from None
            except (OSError, urllib3.exceptions.HTTPError) as error:
                problems.append(OSError(str(error)))
        raise Unreachable(f"{address}: {name} does not answer ({' '.join(str(problems[-1]).split())[:120]})")

    def _connection(self, place: str, port: int, name: str, end: float) -> HTTPSConnection:
        """Made by hand, since a handshake may drip as well: `_ended` needs the socket before it begins."""
        context = self.context or ssl.create_default_context()
        connection = HTTPSConnection(place, port, timeout=SILENCE_SECONDS, ssl_context=context, server_hostname=name)
        left = min(SILENCE_SECONDS, end - time.monotonic())
        if left <= 0:
            raise Unreachable(f"{name}: no time left to connect")
        plain = socket.create_connection((place, port), left)
        try:
            connection.sock = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
            with _ended(connection.sock, end, name):
                connection.sock.do_handshake()
        except BaseException:
            plain.close()
            connection.close()
            raise
        return connection


def _name(address: str) -> str:
    return urllib.parse.urlsplit(address).netloc


def _quoted(target: str) -> str:
    """Blanks and letters that a request line cannot hold, percent-encoded; what is encoded already stays."""
    return urllib.parse.quote(target, safe="/?%:@!$&'()*+,;=~-._[]")


def _size(answer: urllib3.BaseHTTPResponse) -> int:
    whole = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    stated = whole[1] if whole else answer.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else 0


def _entry(address: str, answer: urllib3.BaseHTTPResponse) -> Entry:
    written = answer.headers.get("Last-Modified", "")
    try:
        modified = parsedate_to_datetime(written).astimezone(UTC)
    except (ValueError, OverflowError):
        modified = datetime.fromtimestamp(0, UTC)
    return Entry(address, _size(answer), answer.headers.get("ETag", written), modified)


@contextmanager
def _ended(connected: socket.socket, end: float, name: str) -> Iterator[None]:
    """Cuts the connection at `end`, whatever it waits for: a byte now and then outlasts every time-out of a socket.

    Raises Unreachable then, since a body without a stated length would seem complete."""
    timer = threading.Timer(max(0.0, end - time.monotonic()), _cut, [connected])
    timer.daemon = True
    timer.start()
    try:
        yield
        if time.monotonic() >= end:
            raise Unreachable(f"{name}: the answer took too long")
    finally:
        timer.cancel()


def _cut(connected: socket.socket) -> None:
    """Without SSLSocket's own shutdown, which would tear the state apart that a reader in another thread uses."""
    with suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
