"""The challenger beside the champion on the test images of the new version, and what the gate says."""

import io
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.storage import Store
from pipelines.errors import DataRefused
from pipelines.evaluate.against import NO_SPECIES, told
from pipelines.evaluate.flow import measured
from pipelines.evaluate.gate import Answers
from pipelines.retrain.champion import Champion
from pipelines.retrain.rounds import ANSWERS, REPORT, Round


def judge(store: Store, done: Round, run: str, champion: Champion) -> dict[str, Any]:
    """Whether the challenger that `run` trained takes the champion's place: {promote, told, checks}, stored last of
    all, after the report and both models' answers. Raises DataRefused where no species can be asked for."""
    beside = evaluated(store, done, run, champion.run).beside
    if beside is None or beside.decision is None or beside.answers is None:
        raise DataRefused(f"retrain: {NO_SPECIES}; without them nothing says which model is better")
    done.keep(ANSWERS, table(*beside.answers))
    decision = beside.decision
    return done.write("gate", {"promote": decision.promote, "told": told(decision), **asdict(decision)})


def evaluated(store: Store, done: Round, run: str, other: str | None):
    """Measures, keeps the report, and adds both to the run's MLflow record."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(store, run, (), Path(folder) / REPORT, other=other)
        found.record()
        done.keep(REPORT, found.report.read_bytes())
    return found


def table(challenger: Answers, champion: Answers) -> bytes:
    """One row a test image, as Parquet: what it shows, where, and what either model made of it."""
    columns = {name: getattr(champion, name) for name in ("image", "place", "event", "species")}
    for who, answers in (("champion", champion), ("challenger", challenger)):
        columns |= {f"{who}_right": answers.right.astype(np.int8), f"{who}_confidence": answers.confidence}
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, compression="zstd")
    return stream.getvalue()
