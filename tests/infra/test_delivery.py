"""The queue between a step and a server: in order, bounded, retried, never waiting."""

import logging
import threading
import time

import pytest

from infra import delivery
from infra.delivery import Delivery, Refused, every, nothing


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr(delivery, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(delivery, "PAUSE_SECONDS", 0.01)


class Server:
    """Takes points, or does what it is told to with the next batches."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.failures: list[Exception] = []
        self.open = threading.Event()
        self.open.set()

    def send(self, points) -> None:
        self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.taken += points


def test_all_points_arrive_in_order_over_batches():
    server = Server()
    sender = Delivery(server.send, nothing, "server")
    for start in range(0, 5000, 100):
        sender.add(range(start, start + 100))
    assert sender.close(10) == 0 and server.taken == list(range(5000))


def test_an_outage_is_outlasted_with_one_warning(caplog):
    server = Server()
    server.failures = [ConnectionError("refused\nlong trace")] * 5
    sender = Delivery(server.send, nothing, "server")
    with caplog.at_level(logging.WARNING):
        sender.add([1])
        sender.add([2])
        deadline = time.monotonic() + 10
        while server.taken != [1, 2] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert sender.close(10) == 0 and server.taken == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "server does not take points, training goes on without it: refused long trace"
    ]


def test_a_refused_batch_is_given_up_and_counted(caplog):
    server = Server()
    server.failures = [Refused("bad name")]
    sender = Delivery(server.send, nothing, "server")
    sender.add([1, 2])
    deadline = time.monotonic() + 10
    while server.failures and time.monotonic() < deadline:
        time.sleep(0.01)
    sender.add([3])
    assert sender.close(10) == 2 and server.taken == [3]
    assert "server: 2 points could not be delivered" in caplog.text


def test_a_server_that_hangs_delays_neither_add_nor_close(monkeypatch):
    monkeypatch.setattr(delivery, "QUEUE_POINTS", 500)
    server = Server()
    server.open.clear()
    begun = time.monotonic()
    sender = Delivery(server.send, nothing, "server")
    for number in range(2000):
        sender.add([number])
    assert sender.close(0.2) >= 1500
    assert time.monotonic() - begun < 5
    server.open.set()


def test_samples_are_taken_at_most_so_often():
    sample = every(3600, lambda: [1])
    assert [list(sample()) for _ in range(3)] == [[1], [], []]
