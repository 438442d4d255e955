"""How far a sweep is, on stderr: a live table at a terminal, elsewhere a line for each trial that ends and one now and
then."""

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.progress import LINE_SECONDS
from pipelines.tune.outcome import Outcome, ranked, value

WIDTH = 8
"""Of the best trials a live table shows so many, and those that run."""


class Progress:
    """`show` is called often; it draws when there is something new or due."""

    def __init__(self, name: str, trials: int):
        self.name, self.trials = name, trials
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=False)
        self.told, self.printed = set[str](), time.monotonic()

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, outcomes: Sequence[Outcome], hours: float) -> None:
        if self.live.is_started:
            self.live.update(table(self.name, outcomes, hours), refresh=True)
            return
        for one in outcomes:
            if one.over and one.trial not in self.told:
                self.told.add(one.trial)
                print(line(one), file=sys.stderr, flush=True)
        if time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            print(summary(self.name, outcomes, self.trials, hours), file=sys.stderr, flush=True)


def line(one: Outcome) -> str:
    """Of a trial that is over."""
    drawn = "  ".join(f"{path} {value(found)}" for path, found in one.values.items())
    return f"tune  {one.trial}  {one.state}  step {one.step}/{one.steps}  best {one.best:.2f}  {drawn}"


def summary(name: str, outcomes: Sequence[Outcome], trials: int, hours: float) -> str:
    over, running = sum(one.over for one in outcomes), sum(one.state == "running" for one in outcomes)
    best = max((one.best for one in outcomes if one.curve), default=None)
    told = "" if best is None else f"  best {best:.2f}"
    return f"tune {name}  {over}/{trials} trials  {running} running{told}  {hours:.2f} device-hours"


def table(name: str, outcomes: Sequence[Outcome], hours: float) -> Table:
    """The best trials, then those that run."""
    found = Table(title=summary(name, outcomes, len(outcomes), hours), title_justify="left")
    for head in ("trial", "state", "step", "score", "best", "drawn"):
        found.add_column(head)
    first = ranked(outcomes)
    for one in first[:WIDTH] + [one for one in first[WIDTH:] if one.state == "running"]:
        drawn = "  ".join(f"{'.'.join(path.split('.')[-2:])} {value(given)}" for path, given in one.values.items())
        score = f"{one.curve[-1][1]:.2f}" if one.curve else ""
        found.add_row(one.trial, one.state, f"{one.step}/{one.steps}", score, f"{one.best:.2f}", drawn)
    return found
