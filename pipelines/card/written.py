"""The card as Markdown, from what a report says."""

import html
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from pipelines.dataset import Dataset
from pipelines.recipe import Recipe
from pipelines.report.content import ReportContent
from pipelines.report.formats import count, number, share, share_span, span
from xmodal.settings import differences, yaml_text

README = "README.md"
TASK = "zero-shot-image-classification"
LEAST = 20
"""Test images of a species below which its figures say little."""
LANGUAGES = {"eng": "en", "deu": "de", "fra": "fr", "por": "pt", "spa": "es"}
"""Languages of captions, as a hub names them."""
SHOWN = ("name", "model", "train")
"""Parts of the recipe that a card shows: the others hold addresses."""
MARKS = "\\`*_{}[]#+!|~"
"""What Markdown would read in a text."""


def written(content: ReportContent, recipe: Recipe, dataset: Dataset) -> str:
    """The card's README. Texts of an archive are shown as they are, with what Markdown would read escaped."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters |= {"cell": cell, "count": count, "share": share, "share_span": share_span}
    environment.filters |= {"value": lambda one: number(one.value, one.unit), "span": span}
    environment.filters |= {"chance": lambda one: number(one.chance, one.unit)}
    template = environment.from_string((files("pipelines.card") / "card.md.j2").read_text(encoding="utf-8"))
    made = {part: said for part, said in differences(recipe).items() if part in SHOWN}
    header = yaml_text(head(content, recipe, dataset))
    return template.render(
        header=header, page=content, recipe=recipe, made=yaml_text(made), sources=sources(dataset), least=LEAST
    )


def head(content: ReportContent, recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """Hugging Face's header. The licence of the weights is for those to say who publish them."""
    measured = [{"type": one.name, "name": one.title, "value": round(one.value, 4)} for one in content.headline]
    named = {"type": dataset.name, "name": dataset.name, "split": "test", "revision": dataset.digest}
    results = [{"task": {"type": TASK}, "dataset": named, "metrics": measured}]
    bases = [path for side in (recipe.model.image, recipe.model.text) if (path := getattr(side, "path", None))]
    return {
        "library_name": "xmodal",
        "license": "other",
        "license_name": "to-be-stated-by-who-publishes-the-weights",
        "language": [LANGUAGES[code] for code in recipe.data.captions.languages],
        "pipeline_tag": TASK,
        "tags": ["image-text-retrieval", "camera-traps", "xmodal"],
        "datasets": [dataset.name],
        **({"base_model": bases} if bases else {}),
        "model-index": [{"name": recipe.name, "results": results}],
    }


def sources(dataset: Dataset) -> list[dict[str, Any]]:
    """Survey, licence and holder of rights of the training images, and how many there are of each."""
    columns = ["survey", "licence", "rights_holder"]
    rows = dataset.records(columns, split="train").select(columns)
    found = rows.group_by(columns).aggregate([([], "count_all")]).to_pylist()
    return sorted(found, key=lambda row: (row["survey"], -row["count_all"], str(row["licence"])))


def cell(text: str) -> str:
    """A text of an archive as a line in which nothing is Markdown or HTML."""
    return "".join(f"\\{one}" if one in MARKS else one for one in html.escape(" ".join(text.split()), quote=False))
