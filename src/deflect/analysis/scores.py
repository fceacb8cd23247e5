"""Scores per cell (dataset, GFM, method) and their averages, with intervals over seeds. Missing runs stay NaN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from deflect.analysis.names import ordered
from deflect.analysis.records import Study, metrics_of
from deflect.analysis.stats import summarise

#: Columns of the tidy tables. Scores in percent; parameters are counts.
COLUMNS = (
    "study",
    "dataset",
    "gfm",
    "method",
    "bands",
    "metric",
    "mean",
    "std",
    "ci95",
    "n",
    "tuned_params",
    "gfm_params",
    "tuned_percent",
    "head_params",
)
PARAMETERS = ("tuned_params", "gfm_params", "tuned_percent", "head_params")


def main(study: Study) -> pd.DataFrame:
    """One row per dataset, GFM, method and test metric, the headline metric first; a missing cell has n = 0."""
    runs = study.main
    groups = dict(list(runs.groupby(["dataset", "gfm", "method"])))
    headline = dict(zip(runs.dataset, runs.metric, strict=True))
    rows = []
    for cell in study.cells():
        blank = {"study": study.name, "metric": headline.get(cell[0], "")} | {"n": 0}
        found = tidy(groups[cell]) if cell in groups else [blank]
        rows += [dict(zip(("dataset", "gfm", "method"), cell, strict=True)) | row for row in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def tidy(runs: pd.DataFrame) -> list[dict[str, object]]:
    """The seeds of one cell, summed up: one row per test metric, in percent."""
    first = runs.iloc[0]
    shared = {key: first[key] for key in ("study", "bands", *PARAMETERS)}
    values = pd.DataFrame([metrics_of(record) for record in runs.record])
    return [{**shared, "metric": name, **percent(values[name].to_numpy(dtype=float))} for name in values]


def percent(values: Sequence[float] | np.ndarray) -> dict[str, object]:
    """Mean, std, ci95 and n of fractions, in percent to four decimals."""
    summary = summarise(values)
    return {key: round(100 * getattr(summary, key), 4) for key in ("mean", "std", "ci95")} | {"n": summary.n}


def matrix(runs: pd.DataFrame) -> pd.DataFrame:
    """Headline scores (fractions): one row per (dataset, gfm), one column per seed; absent runs are NaN."""
    return runs.pivot_table(index=["dataset", "gfm"], columns="seed", values="score", aggfunc="mean")


def averages(study: Study, within: Sequence[str] = ()) -> pd.DataFrame:
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


def cell_means(study: Study) -> pd.DataFrame:
    """Mean headline score in percent: one row per (dataset, gfm), one column per method, gaps NaN."""
    frame = headline(main(study))
    table = frame.pivot(index=["dataset", "gfm"], columns="method", values="mean")
    return table[ordered(table.columns)]


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The first row of every cell of a tidy table: its headline metric."""
    return table.drop_duplicates(["dataset", "gfm", "method"]).reset_index(drop=True)


def _sorted(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    places = frame[list(columns)].apply(lambda column: column.map({n: i for i, n in enumerate(ordered(column))}))
    return frame.loc[places.sort_values(list(columns)).index].reset_index(drop=True)
