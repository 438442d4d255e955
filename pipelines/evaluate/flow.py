"""`xmodal evaluate`: figures of a checkpoint on its dataset's test split, the report, and MLflow."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from infra.storage import Denied, Store, Unreachable
from pipelines import card
from pipelines.dataset import Dataset
from pipelines.evaluate import captioned, classes, distractors, language, pairs, published, retrieval
from pipelines.evaluate.against import Beside, against
from pipelines.evaluate.attention import attention
from pipelines.evaluate.claims import claims
from pipelines.evaluate.data import about, curves, data_section, embedding_map
from pipelines.evaluate.logged import log_evaluation
from pipelines.evaluate.protocol import lacking, protocol
from pipelines.evaluate.subject import Subject
from pipelines.gallery import embed, gallery
from pipelines.places import root_store
from pipelines.predictions import trust
from pipelines.progress import working
from pipelines.recipe import Recipe
from pipelines.report import render
from pipelines.report.content import FigureGroup, Measures, ReportContent
from pipelines.report.formats import number, span
from pipelines.report.verdict import sentence
from pipelines.train.plan import sample_reader, starting_model
from pipelines.train.runs import opened, run_of
from pipelines.writable import check_writable
from xmodal.checkpoint import load_momentum
from xmodal.inference import Inference
from xmodal.metrics.figure import Figure
from xmodal.settings import load

SPLIT = "test"


@dataclass(frozen=True)
class Evaluated:
    """What was measured: `text` to print, the figures, the report, and the MLflow record they belong to."""

    text: str
    figures: Sequence[Figure]
    report: Path
    card: dict[str, bytes]
    """Its files by name."""
    recipe: Recipe
    mlflow_run: str | None
    step: int
    beside: Beside | None = None
    """What was found beside another model."""

    def record(self) -> None:
        """Adds figures and report to the record of the run, where there is one. Comes after printing, so that a server
        which does not answer costs nothing that was measured. Raises Unreachable, Denied, saying that."""
        try:
            log_evaluation(self.recipe, self.mlflow_run, self.step, self.figures, self.report, self.card)
        except (Unreachable, Denied) as error:
            kept = f"the figures and {self.report} are complete but were not logged; evaluate again to log them"
            raise type(error)(f"{error}; {kept}") from None


def evaluate(
    checkpoint: str,
    overrides: tuple[str, ...],
    root: str | None,
    report: Path,
    as_json: bool,
    ensemble: str | None = None,
    beams: int = 1,
    card_folder: Path | None = None,
    other: str | None = None,
) -> Evaluated:
    """Measures, writes the report, and the model's card where a folder is named; returns the table (or JSON) to print,
    and what MLflow is to hold.

    `overrides` apply to the checkpoint's own recipe (tracking, compute, evaluation). `ensemble` names a second
    checkpoint of the same dataset version, whose scores are averaged with this one's, `other` one whose place this may
    take. Raises SettingsError where a file cannot be written, before any work; NotFound, DataRefused, Damaged.
    """
    check_writable(report, "--report", "report.html")
    if card_folder is not None:
        check_writable(card_folder / card.README, "--card", "")
    done = measured(root_store(root), checkpoint, overrides, report, as_json, ensemble, beams, other)
    if card_folder is not None:
        for name, data in done.card.items():
            (card_folder / name).write_bytes(data)
    return done


def measured(
    store: Store,
    checkpoint: str,
    overrides: tuple[str, ...],
    report: Path,
    as_json: bool = False,
    ensemble: str | None = None,
    beams: int = 1,
    other: str | None = None,
) -> Evaluated:
    """`evaluate` below `store`, its report written and its card not."""
    with working("evaluate: embedding, measuring, drawing the report"):
        subject, recipe = examined(store, checkpoint, overrides, beams)
        partner = examined(store, ensemble, ())[0] if ensemble else None
        rival = against(subject, rated(store, other, subject), other, recipe.evaluation.gate) if other else None
        content = report_content(subject, recipe, partner, rival.group if rival else None)
        said = card.written(content, recipe, subject.dataset).encode()
        files = {card.README: said, card.TRAINED_ON: card.trained_on(subject.dataset).to_bytes()}
        if (found := content.confidence.trust) is not None:
            trust.keep(run_of(store, checkpoint), found)
            files[trust.TRUST] = found.to_bytes()
    report.write_text(render(content), encoding="utf-8")
    figures = every_figure(content)
    if as_json:
        text = json.dumps([asdict(one) for one in figures], indent=1)
    else:
        compared = published.table(SPLIT, recipe.evaluation, figures) + ([rival.group.note] if rival else [])
        text = _table(figures, content, compared, report)
    state = subject.model.state
    return Evaluated(text, figures, report, files, recipe, state["mlflow_run_id"], state["step"], rival)


def examined(store: Store, checkpoint: str, overrides: tuple[str, ...], beams: int = 1) -> tuple[Subject, Recipe]:
    """A checkpoint on the test split of its dataset version, and its recipe."""
    with opened(store, checkpoint) as directory:
        model = Inference.load(directory, beams=beams)
        load_momentum(directory, model.network)
    recipe = load(Recipe, overrides, below=model.recipe)
    dataset = Dataset.open(store, model.state["dataset"], model.state["dataset_version"])
    return Subject.of(model, dataset, sample_reader(recipe, dataset), SPLIT), recipe


def rated(store: Store, checkpoint: str, beside: Subject) -> Subject:
    """Another checkpoint on the same rows as `beside`, which may be of a later version than it was trained on. Raises
    NotFound, also of features of its encoders."""
    with opened(store, checkpoint) as directory:
        model = Inference.load(directory)
    reader = sample_reader(load(Recipe, (), below=model.recipe), beside.dataset, model.wordpiece)
    return Subject.of(model, beside.dataset, reader, beside.split)


def report_content(
    subject: Subject, recipe: Recipe, partner: Subject | None = None, rival: FigureGroup | None = None
) -> ReportContent:
    """Everything measured, section by section; `partner` is the second model of an ensemble, `rival` what was found
    beside another model."""
    sections = protocol(subject, recipe.evaluation.seconds_a_look)
    caption_figures, captions = language.captions(subject)
    found = retrieval.retrieval(subject) + captioned.protocols(subject, recipe.evaluation, partner)
    found += pairs.protocols(subject, recipe.evaluation, partner)
    beside = published.beside(subject.split, recipe.evaluation, [one for group in found for one in group.figures])
    named = classes.groups(subject)
    measures = [*found, *lacking(subject, sections), *beside, *named, *distractors.groups(subject, recipe.evaluation)]
    if rival is not None:
        measures.append(rival)
    looked, heats = attention(subject)
    measures += [*caption_figures, *looked, *language.space(subject), claims(subject)]
    main = retrieval.headline(subject.split, subject.gallery, subject.groups, subject.text_groups)
    untrained = _untrained(subject, recipe)
    measures[0] = replace(measures[0], figures=[*measures[0].figures, untrained])
    of_species = sections["species"].figures if "species" in sections else []
    of_classes = [figure for group in named for figure in group.figures[:1]]
    headline = [*of_classes, *(_headline_of_host(found) or [main]), *_headline(of_species, measures)][:4]
    return ReportContent(
        title=f"{recipe.name}: what the model knows",
        subtitle=f"{recipe.description or recipe.name}; {len(subject.records)} test images",
        verdict=sentence(headline[0]),
        headline=headline,
        generated=recipe.data.generated,
        data=data_section(subject.dataset),
        examples=retrieval.examples(subject),
        measures=Measures(measures),
        captions=captions,
        attention=heats,
        curves=curves(subject.model.state["history"]),
        map=embedding_map(subject),
        about=about(subject, recipe),
        **sections,
    )


def _untrained(subject: Subject, recipe: Recipe) -> Figure:
    """The headline figure of the model that the run began with, before its first step."""
    network = starting_model(recipe, subject.dataset, subject.rows.reader).eval()
    other = gallery(embed(network, subject.rows, "cpu"), subject.rows.reader.attributes)
    return retrieval.untrained(subject, other)


def _headline_of_host(found: list[FigureGroup]) -> list[Figure]:
    """rsum and recalls of the host that scored all pairs, where there is one: the model was trained and chosen by it,
    and its embeddings may never have been."""
    every = {figure.name: figure for group in found for figure in group.figures}
    wanted = (f"{SPLIT}/host/{name}" for name in ("rsum", "i2t/r1", "t2i/r1"))
    return [replace(every[name], label=f"{every[name].title} by cross attention") for name in wanted if name in every]


def _headline(species_figures: Any, measures: Any) -> list[Figure]:
    """Figures for the head of the page, the most asked first."""
    wanted = ("species/micro", "species/macro", "i2t/r1", "t2i/r1", "i2t/r5", "caption/cider")
    every = [*species_figures, *(figure for group in measures for figure in group.figures)]
    return [figure for name in wanted for figure in every if figure.name == f"{SPLIT}/{name}"]


def every_figure(content: ReportContent) -> list[Figure]:
    """All figures of a report, each once."""
    sections = (content.species, content.incumbents, content.events, content.conditions, content.confidence)
    rows = [*content.headline, *(figure for part in sections for figure in part.figures)]
    rows += [*content.review.figures, *content.places.every_figure]
    rows += [figure for group in content.measures.groups for figure in group.figures]
    found: dict[str, Figure] = {}
    for figure in rows:
        found.setdefault(figure.name, figure)
    return list(found.values())


def _table(figures: list[Figure], content: ReportContent, compared: list[str], report: Path) -> str:
    """Columns that have nothing to say are left out; below, lines about published results and another model
    (`compared`), what was not asked and what could not be measured."""
    columns = {
        "figure": [one.name for one in figures],
        "value": [number(one.value, one.unit) for one in figures],
        "chance": ["" if one.chance is None else number(one.chance, one.unit) for one in figures],
        "place only": ["" if one.baseline is None else number(one.baseline, one.unit) for one in figures],
        "95 % interval": ["" if one.interval is None else span(one) for one in figures],
    }
    shown = [[title, *cells] for title, cells in columns.items() if any(cells)]
    widths = [max(map(len, column)) for column in shown]
    names, *others = ([cell.rjust(width) for cell in column] for column, width in zip(shown, widths, strict=True))
    lines = ("  ".join([name.strip().ljust(widths[0]), *cells]) for name, *cells in zip(names, *others, strict=True))
    missing = [f"not measurable here: {line}" for group in content.measures.groups for line in group.missing]
    asked = [line for line in (content.species.note, content.review.finding) if line]
    return "\n".join([*lines, *([""] * bool(compared)), *compared, *asked, *missing, f"report: {report}"])
