"""A TCP proxy before a real server, which cuts the connection at a chosen request: faults as clients see them."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

Fault = Literal["answer lost", "request lost"]


class Wire:
    """`with Wire(server.endpoint) as wire`: `wire.endpoint` leads to the server. `cut(text, fault)`: the next request
    whose head holds `text`, or the next few, are done and their answers lost, or never arrive; `cuts` counts them."""

    def __init__(self, endpoint: str) -> None:
        address = urlsplit(endpoint)
        self._server = (str(address.hostname), address.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._text, self._fault, self._left = b"", "", 0
        self.cuts = 0

    def cut(self, text: str, fault: Fault, times: int = 1) -> None:
        self._text, self._fault, self._left = text.encode(), fault, times

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._server)
                silenced = threading.Event()
                for pump in (self._upwards, self._downwards):
                    threading.Thread(target=pump, args=(client, server, silenced), daemon=True).start()

    def _upwards(self, client: socket.socket, server: socket.socket, silenced: threading.Event) -> None:
        with suppress(OSError), client, server:
            while data := client.recv(1 << 16):
                if self._left and self._text in data:
                    self._left, self.cuts = self._left - 1, self.cuts + 1
                    if self._fault == "request lost":
                        return _end(client, server)
                    silenced.set()
                server.sendall(data)
            _end(client, server)

    def _downwards(self, client: socket.socket, server: socket.socket, silenced: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if silenced.is_set():
                    return _end(client, server)
                client.sendall(data)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
