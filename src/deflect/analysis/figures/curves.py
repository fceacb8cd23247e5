"""Validation score by epoch of every run: does each method learn, and has it stopped learning?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deflect.analysis.figures.style import PAGE, canvas, folded, method_handles, provenance, styled
from deflect.analysis.looks import look, ordered, title
from deflect.analysis.records import StudyRuns
from deflect.errors import DataError
from deflect.record import HISTORY, REMEDY, run_file


@styled
def training_curves(study: StudyRuns) -> Figure:
    """Datasets down, GFMs across; a line per method (mean over seeds) in a band from the lowest to the highest seed."""
    history = load_history(study)
    datasets, gfms = ordered(study.main.dataset), ordered(study.main.gfm)
    figure, grid = canvas(len(datasets), len(gfms), PAGE, 1.35 * len(datasets) + 0.7, sharex="row", sharey="row")
    for dataset, row in zip(datasets, grid, strict=True):
        for gfm, axes in zip(gfms, row, strict=True):
            _panel(axes, history[(history.dataset == dataset) & (history.gfm == gfm)])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].set_ylabel(f"{folded(study.title(dataset))}\n{title(study.metrics[dataset])} (%)")
    for gfm, axes in zip(gfms, grid[0], strict=True):
        axes.set_title(title(gfm))
    for axes in grid[-1]:
        axes.set_xlabel("epoch")
    handles = method_handles(ordered(study.main.method), lines=True)
    spacing = {"fontsize": 6.3, "columnspacing": 0.9, "handlelength": 1.9}
    figure.legend(handles=handles, loc="outside upper center", ncols=8, **spacing)
    provenance(figure, study, "validation split")
    return figure


def load_history(study: StudyRuns) -> pd.DataFrame:
    """``history.csv`` of every run of the main grid, with the columns that name the run. Runs without one are left out.

    Raises:
        DataError: a file lacks a column.
    """
    parts = []
    for row in study.main.itertuples():
        path = row.folder / HISTORY
        if not path.exists():
            continue
        part = pd.read_csv(run_file(row.folder, HISTORY, row.record))
        if missing := {"epoch", "val_score"} - set(part.columns):
            raise DataError(f"{path}: no column {', '.join(sorted(missing))}; {REMEDY}")
        parts.append(part.assign(dataset=row.dataset, gfm=row.gfm, method=row.method, seed=row.seed))
    if not parts:
        raise DataError(f"{study.name}: no run has a {HISTORY}; train the runs again")
    return pd.concat(parts, ignore_index=True)


def _panel(axes: Axes, history: pd.DataFrame) -> None:
    for method in ordered(history.method):
        style = look(method)
        by_epoch = 100 * history[history.method == method].groupby("epoch").val_score.agg(["mean", "min", "max"])
        axes.plot(by_epoch.index, by_epoch["mean"], color=style.colour, linestyle=style.line, lw=1)
        axes.fill_between(by_epoch.index, by_epoch["min"], by_epoch["max"], color=style.colour, alpha=0.1, lw=0)
    if history.empty:
        axes.text(0.5, 0.5, "runs missing", ha="center", transform=axes.transAxes)
