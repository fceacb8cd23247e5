"""Scores per cell (dataset, GFM, method) and their averages, with intervals over seeds. Missing runs stay NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from deflect.analysis.looks import ordered
from deflect.analysis.records import StudyRuns, metrics_of

PARAMETERS = ("tuned_params", "gfm_params", "tuned_percent", "head_params")
#: Columns of the tidy tables. Scores in percent; parameters are counts.
COLUMNS = ("study", "dataset", "gfm", "method", "bands", "metric", "mean", "std", "ci95", "n", *PARAMETERS)
#: 97.5 % points of Student's t for 1 to 10 degrees of freedom; beyond, the expansion in `t975` is exact to 1e-4.
_T975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_Z975 = 1.959964


class Summary(NamedTuple):
    """``ci95`` is the half width of the interval; it and ``std`` are NaN where one value shows no spread."""

    mean: float
    std: float
    ci95: float
    n: int


def t975(freedom: int) -> float:
    """97.5 % point of Student's t (Abramowitz and Stegun, 26.7.5 for more than 10 degrees of freedom)."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = _Z975
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def summarise(values: Sequence[float] | np.ndarray) -> Summary:
    """Mean, sample standard deviation and half width of the 95 % t-interval of the finite ``values``."""
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    n = len(found)
    if n < 2:
        return Summary(float(found[0]) if n else np.nan, np.nan, np.nan, n)
    std = float(found.std(ddof=1))
    return Summary(float(found.mean()), std, t975(n - 1) * std / n**0.5, n)


def percent(values: Sequence[float] | np.ndarray) -> dict[str, object]:
    """Mean, std, ci95 and n of fractions, in percent to four decimals."""
    summary = summarise(values)
    return {key: round(100 * getattr(summary, key), 4) for key in ("mean", "std", "ci95")} | {"n": summary.n}


def by_cell(study: StudyRuns) -> pd.DataFrame:
    """One row per dataset, GFM, method and test metric, the headline metric first; a missing cell has n = 0."""
    groups = dict(list(study.main.groupby(["dataset", "gfm", "method"])))
    rows = []
    for cell in study.cells():
        blank = {"study": study.name, "metric": study.metrics.get(cell[0], ""), "n": 0}
        found = over_seeds(groups[cell]) if cell in groups else [blank]
        rows += [dict(zip(("dataset", "gfm", "method"), cell, strict=True)) | row for row in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def over_seeds(runs: pd.DataFrame) -> list[dict[str, object]]:
    """The seeds of one cell, summed up: one row per test metric, in percent."""
    first = runs.iloc[0]
    shared = {key: first[key] for key in ("study", "bands", *PARAMETERS)}
    values = pd.DataFrame([metrics_of(record) for record in runs.record])
    return [{**shared, "metric": name, **percent(values[name].to_numpy(dtype=float))} for name in values]


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The first row of every cell of a tidy table: its headline metric."""
    return table.drop_duplicates(["dataset", "gfm", "method"]).reset_index(drop=True)


def cell_means(study: StudyRuns) -> pd.DataFrame:
    """Mean headline score in percent: one row per (dataset, gfm), one column per method, gaps NaN."""
    table = headline(by_cell(study)).pivot(index=["dataset", "gfm"], columns="method", values="mean")
    return table[ordered(table.columns)]


def matrix(runs: pd.DataFrame) -> pd.DataFrame:
    """Headline scores (fractions): one row per (dataset, gfm), one column per seed; absent runs are NaN."""
    return runs.pivot_table(index=["dataset", "gfm"], columns="seed", values="score", aggfunc="mean")


def averages(study: StudyRuns, within: Sequence[str] = ()) -> pd.DataFrame:
    """Average score of every method over all its cells, or within each dataset or GFM.

    The mean is that of the cells' means. The interval is over the ``n`` seeds that every cell has, each averaged
    over cells first. A method that lacks a cell has no average (NaN): an average over the cells that happen to
    exist cannot be compared. ``lacking`` counts the cells without any run.

    Args:
        within: ``("dataset",)``, ``("gfm",)``, both, or nothing for the grand average.
    """
    cells = pd.DataFrame(study.cells(), columns=["dataset", "gfm", "method"])
    rows = []
    for key, group in cells.groupby([*within, "method"]):
        names = dict(zip([*within, "method"], key, strict=True))
        runs = study.main.merge(group)
        scores = matrix(runs) if len(runs) else pd.DataFrame()
        lacking = len(group) - len(scores)
        whole = percent([] if lacking else scores.dropna(axis=1).mean())
        mean = np.nan if lacking else round(100 * scores.mean(axis=1).mean(), 4)
        parameters = dict.fromkeys(PARAMETERS, np.nan)
        if len(runs):  # like the score: every cell counts once, however many seeds it has
            parameters = runs.groupby(["dataset", "gfm"])[list(PARAMETERS)].mean().mean().to_dict()
        rows.append(names | whole | {"mean": mean} | parameters | {"lacking": lacking, "cells": len(group)})
    return _sorted(pd.DataFrame(rows), [*within, "method"])


def _sorted(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    places = frame[list(columns)].apply(lambda column: column.map({n: i for i, n in enumerate(ordered(column))}))
    return frame.loc[places.sort_values(list(columns)).index].reset_index(drop=True)
