"""The evaluation report: one HTML file that a reader without a network can open, print and pass on.

`content` says what goes in, as plain data; `page.render` lays it out. A section without data is not there at all.
"""

from pipelines.report.content import ReportContent
from pipelines.report.page import render

__all__ = ["ReportContent", "render"]
