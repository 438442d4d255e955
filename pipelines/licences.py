"""What a licence's name says of what may be done with an image."""

import re

_NON_COMMERCIAL = re.compile(r"(^|[^a-z])nc([^a-z]|$)|non-? ?commercial", re.IGNORECASE)


def is_non_commercial(name: str | None) -> bool:
    """Whether it says that commercial use is not allowed (`CC BY-NC`, `noncommercial`); a licence that is not stated
    says nothing."""
    return name is not None and _NON_COMMERCIAL.search(name) is not None
