"""The cis sets: other days of the places that train (Beery et al., Recognition in Terra Incognita, ECCV 2018)."""

from dataclasses import dataclass

import numpy as np

from pipelines.prepare.assigned import CIS_TEST, CIS_VAL, NONE, SPLITS, TRAIN
from pipelines.prepare.days import Days, at, keep_whole, of_events
from pipelines.prepare.proposal import Pins, codes_of
from pipelines.prepare.units import Rows


@dataclass(frozen=True)
class CisCut:
    """Arrays have one value a row."""

    split: np.ndarray
    """Codes of train, cis_val and cis_test."""
    pins: dict[str, str]
    """New ones."""
    cell: np.ndarray
    """Code of the day that binds a row; NONE for rows without a day and of events that stand in several."""


def cis_cut(rows: Rows, train: np.ndarray, val: float, test: float, seed: int, pins: Pins) -> CisCut:
    """Cuts whole days of known places out of the rows in `train` (rows,).

    `val` and `test` are shares of the days. A row without a date that can be believed trains, unless its event has one.
    A place keeps at least one day in train: in the version that first has images of it, the day of largest hash.
    """
    days = Days(rows, train & rows.placed & rows.dated, seed)
    hashed = np.where(days.drawn < test, CIS_TEST, np.where(days.drawn < test + val, CIS_VAL, TRAIN))
    old = codes_of(days.names, pins, hashed)
    undated = np.full(len(rows.events), TRAIN, np.int8)
    before = of_events(days, old, train & rows.known, undated)
    first, _ = keep_whole(rows, of_events(days, old, train, undated), before, pins)
    kept = _kept_in_train(days, _of_rows(days, old, first))
    day = old.copy()
    day[kept] = TRAIN
    event, whole = keep_whole(rows, of_events(days, day, train, undated), before, pins)
    new = {days.names[one]: SPLITS[TRAIN] for one in kept.tolist()} | whole
    bound = (rows.event < 0) | ~at(days.straddling, rows.event).astype(bool)
    return CisCut(_of_rows(days, day, event), new, np.where(bound, days.own, NONE))


def _of_rows(days: Days, day: np.ndarray, event: np.ndarray) -> np.ndarray:
    """(rows,) the split by event, else by day, else train."""
    by_event, by_day = at(event, days.rows.event), at(day, days.own)
    return np.where(by_event >= 0, by_event, np.where(by_day >= 0, by_day, TRAIN)).astype(np.int8)


def _kept_in_train(days: Days, split: np.ndarray) -> np.ndarray:
    """Codes of the days that stay: of each place whose labelled rows would all leave train, that of largest hash."""
    rows, asked = days.rows, days.rows.labelled & days.within
    trains = rows.labelled & rows.placed & (split == TRAIN)
    lacking = np.setdiff1d(rows.unit[asked], rows.unit[trains])
    own = np.unique(days.own[asked & np.isin(rows.unit, lacking)])
    order = own[np.lexsort((days.drawn[own], days.unit[own]))]
    return order[np.append(days.unit[order][1:] != days.unit[order][:-1], True)[: len(order)]]
