"""Score against share of the GFM's parameters tuned (Fig. 1a of the paper), in one panel and by GFM or dataset."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deflect.analysis import scores
from deflect.analysis.figures import style
from deflect.analysis.figures.labels import Label, place
from deflect.analysis.looks import ORACLE, ordered, title
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import counted

COLUMNS = 3


@style.styled
def parameter_efficiency(study: StudyRuns) -> Figure:
    """Average score over datasets and GFMs against the average share tuned: one mark per method."""
    figure, [[axes]] = style.canvas(1, 1, style.COLUMN, 2.75)
    table, runs = scores.averages(study), study.main
    shown = table.dropna(subset=["mean"])
    extent = f"{counted(runs.dataset.nunique(), 'dataset')} × {counted(runs.gfm.nunique(), 'GFM')}"
    style.provenance(figure, study, extent, style.missing(table[table["mean"].isna()].method))
    if shown.empty:
        return style.empty(figure, "No method has all of its runs.")
    marks = _panel(axes, shown)
    axes.set_xlabel("share of GFM parameters tuned (%)")
    axes.set_ylabel("average score (%)")
    _label(axes, marks)  # last: labels need the final layout
    return figure


@style.styled
def parameter_efficiency_per_gfm(study: StudyRuns) -> Figure:
    """The same for each GFM, averaged over datasets."""
    return _panels(study, "gfm", "average score (%)", share_y=True)


@style.styled
def parameter_efficiency_per_dataset(study: StudyRuns) -> Figure:
    """The same for each dataset, averaged over GFMs."""
    return _panels(study, "dataset", "{metric} (%)", share_y=False)


def pareto(x: Sequence[float], y: Sequence[float]) -> list[int]:
    """Indices, by rising ``x``, of the points with a higher ``y`` than all others of equal or smaller ``x``."""
    front: list[int] = []
    for i in sorted(range(len(x)), key=lambda i: (x[i], -y[i])):
        if not front or y[i] > y[front[-1]]:
            front.append(i)
    return front


def log_axis(shares: pd.Series) -> tuple[list[float], float]:
    """Ticks of a log axis of ``shares`` in percent, the powers of 10 up to 100, and the place of a share of 0."""
    positive = shares[shares > 0]
    decade = math.floor(math.log10(positive.min() if len(positive) else 1) + 1e-9)
    return [10.0**e for e in range(decade, 3)], 10.0**decade / 4


def _panels(study: StudyRuns, by: str, label: str, share_y: bool) -> Figure:
    table = scores.averages(study, [by])
    names, methods = ordered(table[by]), ordered(table.method)
    rows = math.ceil(len(names) / COLUMNS)
    figure, grid = style.canvas(rows, COLUMNS, style.PAGE, 2.1 * rows + 0.4, sharey=share_y)
    style.provenance(figure, study, style.missing(table[table["mean"].isna()].method))
    panels = [axes for row in grid for axes in row]
    for axes, name in zip(panels, names, strict=False):
        shown = table[table[by] == name].dropna(subset=["mean"])
        _panel(axes, shown) if len(shown) else style.empty(axes)
        axes.set_title(style.folded(study.title(name), 36))
        axes.set_ylabel(label.format(metric=title(study.metrics.get(name, "score"))))
    for axes in panels[max(len(names) - COLUMNS, 0) : len(names)]:
        axes.set_xlabel("parameters tuned (%)")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    if len(panels) > len(names):
        panels[-1].legend(handles=style.method_handles(methods), loc="center", fontsize=8, labelspacing=0.7)
    else:
        style.method_legend(figure, methods)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> pd.DataFrame:
    """Draw marks, Pareto front and oracle line of one average; returns the table with the marks' ``x``."""
    table = table.assign(x=_positions(axes, table.tuned_percent))
    front = _front(table)
    axes.step(front.x, front["mean"], where="post", color="#BBBBBB", lw=1, zorder=1)
    for row in table.itertuples():
        style.point(axes, row.x, row)
    for y in table["mean"][table.method == ORACLE]:
        axes.axhline(y, color="black", lw=0.8, ls=(0, (4, 2)), zorder=2)
    axes.margins(y=0.12)
    return table


def _front(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[pareto(table.x.tolist(), table["mean"].tolist())]


def _positions(axes: Axes, shares: pd.Series) -> list[float]:
    """Set up the log axis, with shares of 0 at its left end, left of a break; returns the position of each share."""
    ticks, zero = log_axis(shares)
    low, decade = ticks[0], round(math.log10(ticks[0]))
    labels = [f"{tick:g}" for tick in ticks]
    if (shares == 0).any():
        ticks, labels = [zero, *ticks], ["0", *labels]
        at = {"xdata": [(zero * low) ** 0.5], "ydata": [0.0], "transform": axes.get_xaxis_transform()}
        with mpl.rc_context({"text.parse_math": True}):  # a marker between dollar signs
            for mark in ({"marker": "s", "ms": 5, "color": "white"}, {"marker": "$//$", "ms": 5, "color": "black"}):
                axes.add_line(Line2D(**at, **mark, mew=0.1, clip_on=False, zorder=9))  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels)
    axes.set_xticks(np.outer(10.0 ** np.arange(decade, 2), np.arange(2, 10)).ravel(), minor=True)
    axes.set_xlim(ticks[0] / 1.6, max(190, 1.5 * shares.max()))  # many new bands on a small GFM can exceed 100 %
    return [share if share > 0 else zero for share in shares]


def _label(axes: Axes, table: pd.DataFrame) -> None:
    """Label the marks, off the oracle's line and the Pareto front."""
    marks = zip(table.x, table["mean"], table.ci95.fillna(0), map(title, table.method), strict=True)
    low, high = axes.get_xlim()
    lines = [(low, y, high, y) for y in table["mean"][table.method == ORACLE]]
    front = _front(table)
    for (x0, y0), (x1, y1) in itertools.pairwise(zip(front.x, front["mean"], strict=True)):
        lines += [(x0, y0, x1, y0), (x1, y0, x1, y1)]
    place(axes, [Label(*mark) for mark in marks], lines)
