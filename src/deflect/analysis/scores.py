"""Scores per cell (dataset, GFM, method) and their averages, with intervals over seeds. Missing runs are NaN."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from deflect.analysis.looks import ordered, place
from deflect.analysis.records import CELL, StudyRuns, metrics_of
from deflect.settings import IN_UNITS

PARAMETERS = ["tuned_params", "gfm_params", "tuned_percent", "head_params"]
#: Columns of the tidy tables. Scores in percent, RMSE and MAE in the unit of the target; parameters are counts.
COLUMNS = ["study", *CELL, "bands", "metric", "mean", "std", "ci95", "n", *PARAMETERS]
#: 97.5 % points of Student's t for 1 to 10 degrees of freedom; beyond, the expansion in `t975` is exact to 1e-4.
_T975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
_Z975 = 1.959964


def t975(freedom: int) -> float:
    """97.5 % point of Student's t (Abramowitz and Stegun, 26.7.5 for more than 10 degrees of freedom)."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = _Z975
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def percent(fractions: Iterable[float], times: float = 100) -> dict[str, Any]:
    """Mean, sample standard deviation, half width of the 95 % t-interval and count of the finite ``fractions``.

    In percent (``times`` 100) to four decimals; ``std`` and ``ci95`` of a single value are NaN.
    """
    found = np.asarray(list(fractions), dtype=float)
    found = found[np.isfinite(found)]
    n = len(found)
    mean = found.mean() if n else np.nan
    std = found.std(ddof=1) if n > 1 else np.nan
    spread = {"mean": mean, "std": std, "ci95": t975(n - 1) * std / n**0.5 if n > 1 else np.nan}
    return {key: round(times * float(value), 4) for key, value in spread.items()} | {"n": n}


def by_cell(study: StudyRuns) -> pd.DataFrame:
    """One row per dataset, GFM, method and test metric, the headline metric first; a missing cell has n = 0."""
    groups = dict(list(study.main.groupby(CELL)))
    rows = []
    for cell in study.cells().itertuples(index=False, name=None):
        missing = {"study": study.name, "metric": study.metrics.get(cell[0], ""), "n": 0}
        found = over_seeds(groups[cell]) if cell in groups else [missing]
        rows += [dict(zip(CELL, cell, strict=True)) | row for row in found]
    return pd.DataFrame(rows, columns=COLUMNS)


def over_seeds(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The seeds of one cell: one row per test metric, in percent or in the unit of the target."""
    shared = runs.iloc[0][["study", "bands", *PARAMETERS]].to_dict()
    values = pd.DataFrame([metrics_of(record) for record in runs.record])
    units = {name: 1 if name in IN_UNITS else 100 for name in values}
    return [{**shared, "metric": name, **percent(values[name], units[name])} for name in values]


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The first row of every cell of a tidy table: its headline metric."""
    return table.drop_duplicates(CELL).reset_index(drop=True)


def cell_means(study: StudyRuns) -> pd.DataFrame:
    """Mean headline score in percent: one row per (dataset, gfm), one column per method, gaps NaN."""
    table = headline(by_cell(study)).pivot(index=["dataset", "gfm"], columns="method", values="mean")
    return table[ordered(table.columns)]


def averages(study: StudyRuns, within: Sequence[str] = ()) -> pd.DataFrame:
    """Average score of every method over all its cells, or within each dataset or GFM.

    The mean is that of the cells' means. The interval is over the ``n`` seeds that every cell has, each averaged
    over cells first. A method that lacks a cell has no average (NaN): averages over different cells cannot be
    compared. ``lacking`` counts the cells without any run. Parameters, like scores, count once per cell, however many
    seeds it has.

    Args:
        within: ``("dataset",)``, ``("gfm",)``, both, or nothing for the grand average.
    """
    keys = [*within, "method"]
    rows = []
    for key, group in study.cells().groupby(keys):
        runs = study.main.merge(group)
        scores = runs.pivot(index=["dataset", "gfm"], columns="seed", values="score")
        lacking = len(group) - len(scores)
        row = dict(zip(keys, key, strict=True)) | percent([] if lacking else scores.dropna(axis=1).mean())
        row["mean"] = np.nan if lacking else round(100 * scores.mean(axis=1).mean(), 4)
        parameters = runs.groupby(["dataset", "gfm"])[PARAMETERS].mean().mean().to_dict()
        rows.append(row | parameters | {"lacking": lacking, "cells": len(group)})
    order = pd.DataFrame(rows).sort_values(keys, key=lambda column: column.map(place))
    return order.reset_index(drop=True)
