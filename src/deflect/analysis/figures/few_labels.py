"""Score against number of labelled training images."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from deflect.analysis.few_labels import NOTHING, by_fraction
from deflect.analysis.figures.style import PAGE, canvas, empty, folded, method_legend, point, provenance, styled
from deflect.analysis.looks import look, ordered, title
from deflect.analysis.records import StudyRuns

COLUMNS = 3


@styled
def few_labels(study: StudyRuns) -> Figure:
    """One panel per dataset, averaged over GFMs: a line per method with a mark at each fraction of the labels."""
    table = by_fraction(study)
    if table.empty:
        return empty(Figure(figsize=(PAGE, 0.6)), NOTHING)
    datasets = ordered(table.dataset)
    columns = min(COLUMNS, len(datasets))
    rows = math.ceil(len(datasets) / columns)
    figure, grid = canvas(rows, columns, PAGE, 2.4 * rows + 0.4)
    panels = [axes for row in grid for axes in row]
    for axes, dataset in zip(panels, datasets, strict=False):
        _panel(axes, table[table.dataset == dataset].dropna(subset=["mean"]))
        axes.set_title(folded(study.title(dataset), 36))
        axes.set_ylabel(f"{title(study.metrics[dataset])} (%)")
        axes.set_xlabel("labelled training images")
    for axes in panels[len(datasets) :]:
        axes.set_axis_off()
    method_legend(figure, ordered(table.method))
    provenance(figure, study, "averages over GFMs, the same number of steps at every mark")
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    methods, counts = ordered(table.method), sorted(set(table.labelled))
    for i, method in enumerate(methods):
        style, mine = look(method), table[table.method == method].sort_values("labelled")
        # a little to the side, so that intervals do not hide each other
        x = mine.labelled * (counts[-1] / counts[0]) ** (0.01 * (i - (len(methods) - 1) / 2))
        axes.plot(x, mine["mean"], color=style.colour, linestyle=style.line, lw=0.9)
        for at, row in zip(x, mine.itertuples(), strict=True):
            point(axes, at, row)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(0.08, 0.1)
    low, high = axes.get_ylim()
    lowest = low if (table["mean"] < 0).any() else 0  # R2 may be negative
    axes.set_ylim(max(low, lowest), min(high, 100))  # intervals over two seeds are wide
    if table.empty:
        empty(axes)
