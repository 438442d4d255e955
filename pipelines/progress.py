"""Progress of long work on stderr: a live bar at a terminal, a line every 30 seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

LINE_SECONDS = 30.0
"""Pause between lines where no terminal is attached."""


@contextmanager
def working(title: str) -> Iterator[None]:
    """Shows that something goes on, and for how long: at a terminal alone, and only while it does."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task(title, total=None)
        yield


def say(text: str) -> None:
    """Lines on stderr about how far the work is."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A line on stderr about what the user should look at; the work goes on."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Progress:
    """`with Progress("prepare", total=900, unit="images") as progress: progress.update(done, ok=12, truncated=1)`.

    Shows done / total, rate, time left and the facts last given. The rate counts from the first update, so that what a
    resumed run finds done does not flatter it.
    """

    def __init__(self, title: str, total: int, unit: str):
        self.title, self.total, self.unit = title, total, unit
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal
        self.begun: tuple[float, int] | None = None
        self.printed, self.shown = 0.0, -1
        self.facts: dict[str, Any] = {}
        self.done = 0

    def __enter__(self) -> "Progress":
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        self.bar = Bar(*columns, TextColumn("{task.fields[facts]}"), console=self.console, disable=not self.live)
        self.task = self.bar.add_task(self.title, total=self.total, facts="")
        self.bar.start()
        return self

    def update(self, done: int, **facts: Any) -> None:
        """`done` of the total so far, and what to show beside it."""
        now = time.monotonic()
        self.begun = self.begun or (now, done)
        self.done, self.facts = done, facts
        self.bar.update(self.task, completed=done, facts=self._facts(now))
        if not self.live and now - self.printed >= LINE_SECONDS:
            self._line(now)

    def _facts(self, now: float) -> str:
        assert self.begun is not None
        seconds = now - self.begun[0]
        rate = [f"{(self.done - self.begun[1]) / seconds:,.1f} {self.unit}/s"] if seconds > 0.5 else []
        return "  ".join(rate + [f"{name} {value}" for name, value in self.facts.items()])

    def _line(self, now: float) -> None:
        assert self.begun is not None
        self.printed, self.shown = now, self.done
        seconds, made = now - self.begun[0], self.done - self.begun[1]
        left = f"  {(self.total - self.done) * seconds / made:,.0f} s left" if made and self.done < self.total else ""
        print(
            f"{self.title}  {self.done:,}/{self.total:,} {self.unit}  {self._facts(now)}{left}",
            file=sys.stderr,
            flush=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if not self.live and self.begun is not None and self.shown != self.done:
            self._line(time.monotonic())
