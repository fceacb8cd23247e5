"""Validation score by epoch of every run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from deflect.analysis.figures.style import PAGE, canvas, empty, folded, provenance, styled
from deflect.analysis.looks import look, ordered, title
from deflect.analysis.records import CELL, StudyRuns
from deflect.errors import DataError
from deflect.record import HISTORY, REMEDY, run_file


@styled
def training_curves(study: StudyRuns) -> Figure:
    """Datasets down, GFMs across; per method a line (mean over seeds) and a band (lowest to highest seed)."""
    history = load_history(study)
    datasets, gfms, methods = (ordered(study.main[axis]) for axis in CELL)
    figure, grid = canvas(len(datasets), len(gfms), PAGE, 1.35 * len(datasets) + 0.7, sharex="row", sharey="row")
    for dataset, row in zip(datasets, grid, strict=True):
        for gfm, axes in zip(gfms, row, strict=True):
            _panel(axes, history[(history.dataset == dataset) & (history.gfm == gfm)])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].set_ylabel(f"{folded(study.title(dataset))}\n{title(study.metrics[dataset])} (%)")
    for gfm, top, bottom in zip(gfms, grid[0], grid[-1], strict=True):
        top.set_title(title(gfm))
        bottom.set_xlabel("epoch")
    lines = [Line2D([], [], color=s.colour, linestyle=s.line, label=s.label) for s in map(look, methods)]
    spacing = {"fontsize": 6.3, "columnspacing": 0.9, "handlelength": 1.9}
    figure.legend(handles=lines, loc="outside upper center", ncols=8, **spacing)
    provenance(figure, study, "validation split")
    return figure


def load_history(study: StudyRuns) -> pd.DataFrame:
    """``history.csv`` of every run of the main grid that has one, with the columns that name the run.

    Raises:
        DataError: a file lacks a column.
    """
    parts = []
    for row in study.main.itertuples():
        if (row.folder / HISTORY).exists():
            part = history_of(row.folder, row.record)
            parts.append(part.assign(dataset=row.dataset, gfm=row.gfm, method=row.method, seed=row.seed))
    if not parts:
        raise DataError(f"{study.name}: no run has a {HISTORY}; train the runs again")
    return pd.concat(parts, ignore_index=True)


def history_of(folder: Path, record: Mapping[str, Any]) -> pd.DataFrame:
    """The epochs of a run's ``history.csv`` that were validated.

    Raises:
        DataError: the file changed since the run wrote it, or lacks a column.
        FileNotFoundError: there is no such file.
    """
    history = pd.read_csv(path := run_file(folder, HISTORY, record))
    if missing := {"epoch", "val_score"} - set(history.columns):
        raise DataError(f"{path}: no column {', '.join(sorted(missing))}; {REMEDY}")
    return history.dropna(subset="val_score")


def _panel(axes: Axes, history: pd.DataFrame) -> None:
    for method in ordered(history.method):
        style = look(method)
        by_epoch = 100 * history[history.method == method].groupby("epoch").val_score.agg(["mean", "min", "max"])
        axes.plot(by_epoch.index, by_epoch["mean"], color=style.colour, linestyle=style.line, lw=1)
        axes.fill_between(by_epoch.index, by_epoch["min"], by_epoch["max"], color=style.colour, alpha=0.1, lw=0)
    if history.empty:
        empty(axes)
