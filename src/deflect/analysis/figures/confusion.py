"""Confusion matrices on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deflect.analysis.figures.style import LIGHT, PAGE, empty, folded, heatmap, provenance, styled
from deflect.analysis.looks import FLOOR, ORACLE, ordered, title
from deflect.analysis.records import StudyRuns
from deflect.record import MATRIX_TASKS

#: Up to this number of classes, cells are large enough for numbers.
_NUMBERED = 4


@styled
def confusion_matrices(study: StudyRuns, methods: Sequence[str] = (FLOOR, "deflect", ORACLE)) -> Figure:
    """Datasets down, ``methods`` across; counts summed over GFMs and seeds, each row (true class) in percent.

    Only of classification and segmentation, where a label is one class.
    """
    runs = study.main[study.main.task.isin(MATRIX_TASKS)]
    datasets = ordered(runs.dataset)
    if not datasets:
        figure = Figure(figsize=(PAGE, 1), layout="constrained")
        return empty(figure, "No dataset has one class per label.")
    classes = {dataset: group.record.iloc[0]["classes"] for dataset, group in runs.groupby("dataset")}
    heights = [max(len(classes[dataset]), 4.5) for dataset in datasets]
    figure = Figure(figsize=(PAGE, 0.12 * sum(heights) + 0.35 * len(datasets) + 0.4), layout="constrained")
    grid = figure.subplots(len(datasets), len(methods), squeeze=False, gridspec_kw={"height_ratios": heights})
    for dataset, row in zip(datasets, grid, strict=True):
        for method, axes in zip(methods, row, strict=True):
            found = runs[(runs.dataset == dataset) & (runs.method == method)]
            _panel(axes, total_confusion(found), classes[dataset] if axes is row[0] else [])
        row[0].set_ylabel(folded(study.title(dataset)), fontsize=8)
    for method, axes in zip(methods, grid[0], strict=True):
        axes.set_title(title(method))
    figure.align_ylabels(list(grid[:, 0]))
    order = "rows: true class, columns: predicted, in the same order"
    provenance(figure, study, f"{order}; percent of the row: white 0, darkest blue 100")
    return figure


def total_confusion(runs: pd.DataFrame) -> NDArray[np.float64]:
    """Sum of the runs' confusion matrices, each row in percent; classes without a test sample are NaN."""
    if runs.empty:
        return np.full((1, 1), np.nan)
    counts = np.sum([np.asarray(record["confusion"], dtype=float) for record in runs.record], axis=0)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(100 * counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def _panel(axes: Axes, percent: NDArray[np.float64], classes: Sequence[str]) -> None:
    axes.set_facecolor(LIGHT)  # classes that the test split does not have
    found = bool(np.isfinite(percent).any())
    numbers: Any = {"annot": found and len(percent) <= _NUMBERED, "fmt": ".0f", "annot_kws": {"fontsize": 7}}
    lines: Any = {"linewidths": 0.3, "linecolor": "white", "xticklabels": False}
    heatmap(axes, percent, 5.5, list(classes) or False, vmax=100, cmap="Blues", **numbers, **lines)
    if not found:
        empty(axes)
