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

SHARE = "share of GFM parameters tuned (%)"
SHORT = "parameters tuned (%)"


@style.styled
def parameter_efficiency(study: StudyRuns) -> Figure:
    """Average score over datasets and GFMs against the average share tuned: one mark per method."""
    figure, [[axes]] = style.canvas(1, 1, style.COLUMN, 2.75)
    table = scores.averages(study)
    shown = table.dropna(subset=["mean"])
    style.provenance(figure, study, _extent(study), _left_out(table))
    if shown.empty:
        return style.empty(figure, "No method has all of its runs.")
    x = _panel(axes, shown)
    axes.set_xlabel(SHARE)
    axes.set_ylabel("average score (%)")
    _label(axes, shown, x)
    return figure


@style.styled
def parameter_efficiency_per_gfm(study: StudyRuns) -> Figure:
    """The same for each GFM, averaged over datasets."""
    return _panels(study, "gfm", columns=3, share_y=True, label="average score (%)")


@style.styled
def parameter_efficiency_per_dataset(study: StudyRuns) -> Figure:
    """The same for each dataset, averaged over GFMs."""
    return _panels(study, "dataset", columns=3, share_y=False, label="{metric} (%)")


def pareto(x: Sequence[float], y: Sequence[float]) -> list[int]:
    """Indices of the points that no other beats with an equal or smaller ``x``, by rising ``x``."""
    front: list[int] = []
    for i in sorted(range(len(x)), key=lambda i: (x[i], -y[i])):
        if not front or y[i] > y[front[-1]]:
            front.append(i)
    return front


def _panels(study: StudyRuns, by: str, columns: int, share_y: bool, label: str) -> Figure:
    table = scores.averages(study, [by])
    names = ordered(table[by])
    rows = math.ceil(len(names) / columns)
    figure, grid = style.canvas(rows, columns, style.PAGE, 2.1 * rows + 0.4, sharey=share_y)
    style.provenance(figure, study, _left_out(table))
    panels = [axes for row in grid for axes in row]
    for axes, name in zip(panels, names, strict=False):
        shown = table[table[by] == name].dropna(subset=["mean"])
        _panel(axes, shown) if len(shown) else axes.text(0.5, 0.5, "runs missing", ha="center", color=style.GREY)
        axes.set_title(style.folded(study.title(name), 36))
        axes.set_ylabel(label.format(metric=title(study.metrics.get(name, "score"))))
    for axes in panels[max(len(names) - columns, 0) : len(names)]:
        axes.set_xlabel(SHORT)
    methods = ordered(table.method)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    if len(panels) > len(names):
        panels[-1].legend(handles=style.method_handles(methods), loc="center", fontsize=8, labelspacing=0.7)
    else:
        style.method_legend(figure, methods)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> list[float]:
    """Marks, Pareto front and oracle line of one average; returns the place of each mark on the x axis."""
    x = _positions(axes, table.tuned_percent)
    y = table["mean"].tolist()
    front = pareto(x, y)
    axes.step([x[i] for i in front], [y[i] for i in front], where="post", color="#BBBBBB", lw=1, zorder=1)
    for row, position in zip(table.itertuples(), x, strict=True):
        style.point(axes, position, row)
        if row.method == ORACLE:
            axes.axhline(row.mean, color="black", lw=0.8, ls=(0, (4, 2)), zorder=2)
    axes.margins(y=0.12)
    return x


def _positions(axes: Axes, shares: pd.Series) -> list[float]:
    """Set up the log axis; shares of 0 get a place of their own at its left end, behind a break."""
    positive = shares[shares > 0]
    decade = math.floor(math.log10(positive.min() if len(positive) else 1) + 1e-9)
    low = 10.0**decade
    zero = low / 4
    ticks = [10.0**e for e in range(decade, 3)]
    labels = [f"{tick:g}" for tick in ticks]
    if (shares == 0).any():
        ticks, labels = [zero, *ticks], ["0", *labels]
        at = {"xdata": [(zero * low) ** 0.5], "ydata": [0.0], "transform": axes.get_xaxis_transform()}
        with mpl.rc_context({"text.parse_math": True}):  # a sign between dollars is a marker
            for mark in ({"marker": "s", "ms": 5, "color": "white"}, {"marker": "$//$", "ms": 5, "color": "black"}):
                axes.add_line(Line2D(**at, **mark, mew=0.1, clip_on=False, zorder=9))  # type: ignore[arg-type]
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels)
    axes.set_xticks(np.outer(10.0 ** np.arange(decade, 2), np.arange(2, 10)).ravel(), minor=True)
    axes.set_xlim(ticks[0] / 1.6, max(190, 1.5 * shares.max()))  # many new bands on a small GFM: more than 100 %
    return [share if share > 0 else zero for share in shares]


def _label(axes: Axes, table: pd.DataFrame, x: list[float]) -> None:
    """Direct labels in a dark ink, off the oracle's line and the Pareto front."""
    rows = table.to_dict("records")
    errors = np.nan_to_num(table.ci95)
    labels = [Label(*mark) for mark in zip(x, table["mean"], errors, map(title, table.method), strict=True)]
    front = pareto(x, table["mean"].tolist())
    across = [(x[i], labels[i].y, x[j], labels[i].y) for i, j in itertools.pairwise(front)]
    upward = [(x[j], labels[i].y, x[j], labels[j].y) for i, j in itertools.pairwise(front)]
    low, high = axes.get_xlim()
    oracle = [(low, row["mean"], high, row["mean"]) for row in rows if row["method"] == ORACLE]
    place(axes, labels, lines=[*oracle, *across, *upward])


def _left_out(table: pd.DataFrame) -> str:
    lost = ordered(table[table["mean"].isna()].method)
    return f"runs missing: {', '.join(map(title, lost))}" if lost else ""


def _extent(study: StudyRuns) -> str:
    datasets, gfms = study.main.dataset.nunique(), study.main.gfm.nunique()
    return f"{datasets} dataset{'s' * (datasets > 1)} × {gfms} GFM{'s' * (gfms > 1)}"
