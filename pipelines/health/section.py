"""What the sections of the health page have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.sections import Section


@dataclass(frozen=True, kw_only=True)
class HealthSection(Section):
    """A section that ends with what to do about it. It is there even where nothing was found: that is news."""

    advice: Sequence[str] = ()
    """Sentences, the most urgent first."""
    caveats: Sequence[str] = ()
    """Sentences that its counts have to be read with."""

    @property
    def template(self) -> str:
        return "health/section.html.j2"

    @property
    def body(self) -> str:
        """Template of what stands above the advice."""
        return f"health/{self.anchor}.html.j2"

    def __bool__(self) -> bool:
        return True
