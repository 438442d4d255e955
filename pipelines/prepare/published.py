"""The split that a set was published with."""

from typing import Literal

from pipelines.prepare.proposal import Pins, Proposal
from pipelines.prepare.units import Rows
from xmodal.settings import Settings


class PublishedSplit(Settings):
    """The split that the set was published with. Where it has the same bytes or one event in two splits, those in test
    stay, then those in val; whether its places are disjoint is the publisher's matter."""

    kind: Literal["published"]

    def surveys(self) -> set[str]:
        """The surveys that the settings name."""
        return set()

    def inherited(self, old: Settings, pins: Pins) -> Pins | None:
        """Nothing is pinned."""
        return {} if old == self else None

    def propose(self, rows: Rows, pinned: Pins | None) -> Proposal:
        """Each row where it was published."""
        return Proposal(rows.published, "no_published_split", priority=(2, 1, 0, 1, 0))
