"""Labels, frames and their texts, for tests of facts and captions: made by hand, and what is written of them."""

import json
from collections.abc import Iterable
from typing import Any

from pipelines.prepare.attributes import Claims, values
from pipelines.prepare.captions import Shown, Text, texts
from pipelines.prepare.facts import Medium, facts
from pipelines.prepare.language import available, language
from pipelines.prepare.lexicon import Lexicon, labels, lexicon

Frame = dict[str, Any]


def label(taxon: str | None, rank: str | None, lineage: dict[str, str] | None = None, **names: str) -> dict[str, Any]:
    return {"taxon": taxon, "rank": rank, "lineage": lineage or {}, "names": names}


def observation(of: dict[str, Any] | None = None, **columns: Any) -> dict[str, Any]:
    """A row of OBSERVATIONS; `of` is a `label`."""
    row: dict[str, Any] = dict.fromkeys(("count", "life_stage", "sex", "behavior", "caption", "box", "confidence"))
    row |= {"level": "media", "type": "animal", "label": None, "method": "human", "origin": "test"}
    of = of or label(None, None)
    return row | of | {name: json.dumps(of[name]) for name in ("names", "lineage")} | columns


def frame(*rows: dict[str, Any], infrared: bool = False, time: str | None = None, boxes: Any = None) -> Frame:
    """Facts of a frame that these observations are about."""
    return facts(Medium({"captured_at": time}, list(rows), boxes), infrared, time is not None, 0.2)


def names_of(rows: Iterable[dict[str, Any]], codes: Iterable[str] = available()) -> Lexicon:
    """What names stand for in a dataset of these observations."""
    return lexicon(labels(rows), codes)


def recorded(known: Frame, names: Lexicon) -> Claims:
    return values(known) | names.recorded(known.get("taxon"))


def written(known: Frame, names: Lexicon, code: str = "eng", sample: str = "s", says: Any = None) -> list[Text]:
    """The texts of a frame in one language."""
    further = {} if says is None else {"says": says}
    return texts(Shown(known, recorded(known, names), sample, 0, lexicon=names, **further), language(code))
