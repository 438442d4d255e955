"""PageContent -> one HTML page that loads nothing: styles inline, charts and thumbnails as data addresses."""

from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipelines.report import charts, embedding_map, formats, reliability, verdict
from pipelines.report.content import PageContent
from pipelines.report.pictures import heated, webp

LIMIT = 5_000_000
"""Bytes of a page: what still passes by mail and opens on a phone."""
FOLDER = Path(__file__).parent
THUMBNAILS = ((320, 72), (224, 60), (160, 50), (96, 40))
"""(pixels, WebP quality), tried from the best until the page fits."""


def render(content: PageContent) -> str:
    """The page. The same content gives the same text.

    Raises ValueError where it does not fit into 5 MB even with the smallest thumbnails.
    """
    for side, quality in THUMBNAILS:
        page = _environment(side, quality).get_template("page.html.j2").render(content=content)
        if len(page.encode()) <= LIMIT:
            return page
    raise ValueError(f"the report takes {len(page.encode()) / 1e6:.1f} MB, more than 5 MB: give it fewer examples")


def _environment(side: int, quality: int) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([FOLDER, FOLDER.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = ("clip", "count", "number", "span", "share", "share_span", "points", "points_span")
    environment.filters.update({name: getattr(formats, name) for name in words})
    pictures = {one.__name__: partial(one, side=side, quality=quality) for one in (webp, heated)}
    environment.globals.update(pictures, charts=charts, alike=embedding_map.alike)
    environment.globals.update(reliability=reliability.chart, beside=verdict.beside, where_not=verdict.where_not)
    return environment
