"""What a source yields, field by field: one survey as four Arrow tables and a count of what was refused.

Names are Camtrap DP's (https://camtrap-dp.tdwg.org, 1.0.2). A `key` is the file's path inside the archive, never
normalised beyond what its format's standard asks (`\\` to `/` in COCO files); a tar member is `archive.tar!/member`.
Captioned image sets use the same tables: their captions are observations' texts, their published split is `split`.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

MEDIA = pa.schema(
    [
        ("media_id", pa.string()),  # unique within the survey
        ("key", pa.string()),  # path in the archive
        ("deployment_id", pa.string()),
        ("place", pa.string()),  # the true place (location, placename, rounded coordinates); null = unknown
        ("event_id", pa.string()),  # the archive's own event or sequence; null = none stated
        ("frame", pa.int32()),  # position in the event; null = unknown
        ("captured_at", pa.string()),  # local wall time "YYYY-MM-DD HH:MM:SS", null = unknown or unreadable
        ("utc_offset", pa.int32()),  # seconds east of UTC, null = unknown
        ("public", pa.bool_()),  # False = the archive says it must not be shown; null = not stated
        ("corrupt", pa.bool_()),  # the archive itself says the file is damaged; null = not stated
        ("withdrawn", pa.bool_()),  # True = a takedown list names it: it leaves the next version
        ("split", pa.string()),  # published split: train | val | test; null = none published
        ("licence", pa.string()),
        ("rights_holder", pa.string()),
        ("time_fault", pa.string()),  # unreadable_time | year_out_of_range: why a written time is null above
        ("time_shown", pa.string()),  # the wall time whose year cannot be: it still orders a camera's frames
        ("width", pa.int32()),  # pixels that the archive states, of which boxes in pixels are; null = not stated
        ("height", pa.int32()),
    ]
)

DATE_ORDERS = {name: f"{name}_order" for name in ("captured_at", "start", "end")}
"""Columns beside those of MEDIA and DEPLOYMENTS while a survey is read: the order in which each date is written
(clock.py)."""

OBSERVATIONS = pa.schema(
    [
        ("media_id", pa.string()),  # media-level and sequence-level labels name each medium they are about
        ("level", pa.string()),  # media | event: an event label may be true of other frames of the burst only
        ("type", pa.string()),  # animal | human | vehicle | blank | unknown | unclassified
        ("label", pa.string()),  # as the archive writes it
        ("taxon", pa.string()),  # scientific name at its true rank; null = not an animal or not known
        ("rank", pa.string()),  # species | genus | family | order | class | ... ; null = not stated
        ("lineage", pa.string()),  # JSON {rank: name} of the higher ranks that the archive states
        ("names", pa.string()),  # JSON {iso639-3: vernacular name} that the archive states
        ("count", pa.int32()),
        ("life_stage", pa.string()),
        ("sex", pa.string()),
        ("behavior", pa.string()),
        ("caption", pa.string()),  # a caption set's own text, else null
        ("box", pa.list_(pa.float32(), 4)),  # relative x, y, width, height, origin top left; null = whole frame
        ("confidence", pa.float32()),
        ("method", pa.string()),  # human | machine | null
        ("origin", pa.string()),  # which source or overlay says so, e.g. "camtrap_dp", "megadetector"
        ("language", pa.string()),  # ISO 639-3 code of `caption`; null = not stated
    ]
)

DETECTIONS = pa.schema(
    [
        ("key", pa.string()),  # joined on (survey, key); a row with zero boxes = the detector ran and found nothing
        ("boxes", pa.list_(pa.list_(pa.float32(), 4))),  # relative x, y, width, height on the EXIF-turned image
        ("confidences", pa.list_(pa.float32())),
        ("classes", pa.list_(pa.string())),  # animal | human | vehicle | the detector's own other names
        ("taxa", pa.list_(pa.string())),  # JSON of what a classifier says of each box; null = of none, or not of this
    ]
)

SIGNS = pa.schema(
    [
        ("key", pa.string()),  # path in the archive, whether or not MEDIA has it; null = it is said of an event
        ("kind", pa.string()),  # human | vehicle | not_public
        ("confidence", pa.float64()),  # of a detector's box; null = it is said, not guessed
        ("event_id", pa.string()),  # as in MEDIA: all its frames are meant; null = the file alone
    ]
)
"""What may close a file to privacy beside the rows of MEDIA and OBSERVATIONS: every box of a person or vehicle, and
what a row says that was refused or superseded, or that names a file which is no medium."""
PEOPLE = ("human", "vehicle")
"""Types of observations and classes of boxes that privacy keeps out by default."""

DEPLOYMENTS = pa.schema(
    [
        ("deployment_id", pa.string()),
        ("place", pa.string()),  # as in MEDIA
        ("start", pa.string()),  # local wall time "YYYY-MM-DD HH:MM:SS" from which media can be; null = not stated
        ("end", pa.string()),
        ("clock_fault", pa.bool_()),  # the archive itself doubts this deployment's times; null = not stated
    ]
)


OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*://|[/\\~]|[a-z]:[/\\]", re.IGNORECASE)
"""What an address or an absolute path begins with: it may tell the names of people and machines."""

HALF = re.compile(r"[\ud800-\udfff]")
"""Half a surrogate pair, such as a cut emoji leaves: JSON can say it, UTF-8 and Arrow cannot."""


@dataclass
class Refused:
    """Rows a reader could not take: counted by reason, with a few examples each.

    An example says which row it is, by file, key, id or number; what the row itself says may stand behind `: `.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        self.counts[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < 5:
            shown.append(example)

    def shown(self, reason: str) -> list[str]:
        """Examples of a reason as they may be shown: which rows, and no more of them than paths."""
        named = (HALF.sub("\ufffd", example.partition(": ")[0]) for example in self.examples.get(reason, []))
        return ["a path outside the archive" if OUTSIDE.match(name) else name for name in named]

    def extend(self, other: "Refused") -> None:
        self.counts.update(other.counts)
        for reason, shown in other.examples.items():
            self.examples[reason] = (self.examples.get(reason, []) + shown)[:5]


@dataclass(frozen=True)
class TakenDown:
    """What an entry of a takedown list names its file by: keys, media ids, SHA-256 in hex; and how it was written."""

    keys: frozenset[str] = frozenset()
    media_ids: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()
    written: str = ""

    def meets(self, other: "TakenDown") -> bool:
        """Whether both name something alike."""
        return bool(self.keys & other.keys or self.media_ids & other.media_ids or self.hashes & other.hashes)

    @classmethod
    def union(cls, entries: Iterable["TakenDown"]) -> "TakenDown":
        """All that several entries name."""
        every, none = list(entries), frozenset[str]()
        return cls(
            none.union(*(one.keys for one in every)),
            none.union(*(one.media_ids for one in every)),
            none.union(*(one.hashes for one in every)),
        )


@dataclass(frozen=True)
class Survey:
    """One archive's metadata: MEDIA, OBSERVATIONS, DETECTIONS, DEPLOYMENTS and SIGNS tables, and what was refused.

    An overlay returns the survey it was given with some of these replaced (`dataclasses.replace`).
    """

    media: pa.Table
    observations: pa.Table
    detections: pa.Table
    refused: Refused
    deployments: pa.Table = field(default_factory=DEPLOYMENTS.empty_table)
    """Only where the archive knows deployments."""
    takedown: tuple[TakenDown, ...] = ()
    """Entries of takedown lists: each is one file."""
    signs: pa.Table = field(default_factory=SIGNS.empty_table)
