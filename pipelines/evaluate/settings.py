"""How a model is evaluated beside the defaults, and what is published of others by the same protocol: no part of a
run's identity."""

from typing import Literal

from pydantic import Field, field_validator

from pipelines.evaluate.gate import GateSettings
from pipelines.sources.tables import ENDINGS
from xmodal.settings import Settings

SECONDS = 10.0
"""A look takes so many where nobody says so: an assumption."""
KEYS = ("rsum", *(f"{direction}/r{k}" for direction in ("i2t", "t2i") for k in (1, 5, 10)))


class Published(Settings):
    """One published result on the same test images."""

    name: str = Field(min_length=1)
    """Whose, and of which inputs."""
    source: str = Field(min_length=1)
    """Where the figures were read, or why there are none."""
    figures: dict[str, float] = Field(default={})
    """Percent by `i2t/r1` ... `t2i/r10`, or `rsum`; none where none could be read."""
    protocol: Literal["all", "folds"] = "all"
    """all: every test image among all. folds: the mean over folds of `fold_images`."""
    ensemble: bool = False
    """Whether two models' score matrices were averaged: the rows with a star in the papers' tables."""
    scored_by: Literal["embeddings", "host"] = "embeddings"
    """host: by a cross-attention host over all pairs."""

    @field_validator("figures")
    @classmethod
    def _known(cls, figures: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in figures if name not in KEYS]
        if unknown:
            raise ValueError(f"figures: {unknown[0]!r} is none of {', '.join(KEYS)}")
        return figures


class EvaluationSettings(Settings):
    """Protocols of captioned sets, further species to choose from, and what to compare with."""

    fold_images: int | None = Field(default=None, ge=1)
    """Images of a fold, in the order of the media ids: COCO's 5-fold 1K is 1000; without it no folds."""
    rerank: int | None = Field(default=None, ge=10)
    """Candidates of each query, the first by the embeddings, that the model's matcher or else its task itm ranks again
    (ALBEF 128 on Flickr30K, 256 on COCO): a protocol of its own; without it none."""
    published: tuple[Published, ...] = ()
    """Results to print beside ours."""
    gallery: str | None = None
    """Table of species whose texts stand as distractors beside the model's own: a local path, or `s3://bucket/key` by
    the AWS_* variables of the environment. Columns: name (scientific), and where known kingdom to genus, common_name;
    without it no distractors."""
    seconds_a_look: float = Field(default=SECONDS, gt=0)
    """What a person needs for a look at the frames of an event, in seconds, by which hours of work are told: an
    assumption, which a trial of yours should replace."""
    gate: GateSettings = GateSettings()
    """What a model must show to take another's place."""

    @field_validator("gallery")
    @classmethod
    def _is_a_table(cls, gallery: str | None) -> str | None:
        if gallery is not None and not gallery.lower().endswith(ENDINGS):
            raise ValueError(f"{gallery!r} is no table by its name; allowed: {', '.join(ENDINGS)}")
        return gallery
