"""Cross-attention hosts: what scores an image and a caption by attention between regions and words.

A matcher's settings have `build(sizes)`; the built `Matcher` turns tokens into sides, scores all pairs of them and
records the attention of matched pairs. To add one: write `xmodal/matchers/x.py` and give it a place in the union.
"""

from typing import Annotated

from pydantic import Field

from xmodal.matchers.bfan import BFAN
from xmodal.matchers.matcher import Matcher
from xmodal.matchers.pfan import PFAN
from xmodal.matchers.record import AttentionRecord
from xmodal.matchers.scan import SCAN
from xmodal.matchers.sgraf import SGRAF

MatcherSettings = Annotated[SCAN | BFAN | PFAN | SGRAF, Field(discriminator="kind")]

__all__ = ["AttentionRecord", "Matcher", "MatcherSettings"]
