"""Cross-attention hosts: what scores an image and a caption by attention between regions and words.

A host's settings have `build(sizes, tasks)`; the built host, called with a batch's encodings, gives a `Hosted`: scores
of all pairs and attention records of matched ones. A `Matcher` does so with weights of its own, `fusion` looks into
the task itm. To add one: write `xmodal/matchers/x.py` and give it a place in the union.
"""

from typing import Annotated

from pydantic import Field

from xmodal.matchers.bfan import BFAN
from xmodal.matchers.fusion import Fusion, FusionHost
from xmodal.matchers.matcher import Matcher
from xmodal.matchers.pfan import PFAN
from xmodal.matchers.record import AttentionRecord
from xmodal.matchers.scan import SCAN
from xmodal.matchers.sgraf import SGRAF

MatcherSettings = Annotated[SCAN | BFAN | PFAN | SGRAF | Fusion, Field(discriminator="kind")]

Host = Matcher | FusionHost

__all__ = ["AttentionRecord", "Host", "Matcher", "MatcherSettings"]
