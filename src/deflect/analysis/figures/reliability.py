"""Accuracy against confidence, and how often each confidence occurs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deflect.analysis.calibration import KEYS, lacking_note, load_calibration
from deflect.analysis.figures.style import GREY, PAGE, empty, folded, provenance, styled
from deflect.analysis.looks import look, ordered
from deflect.analysis.records import StudyRuns
from deflect.settings import REGRESSIONS

#: Share of a method's predictions that a bin needs to be drawn: in others accuracy is mostly chance.
_ENOUGH = 0.01


@styled
def reliability(study: StudyRuns) -> Figure:
    """One panel per dataset, one line per method: accuracy by confidence, pooled over GFMs and seeds.

    Below the diagonal a model is too confident. Under each panel is the share of predictions in each of the bins.
    """
    runs = load_calibration(study)
    datasets = ordered(study.main[~study.main.task.isin(REGRESSIONS)].dataset)
    width = max(PAGE, 1.4 * len(datasets))
    figure = Figure(figsize=(width, 2.9), layout="constrained")
    provenance(
        figure,
        study,
        f"bins with less than {100 * _ENOUGH:g} % of the predictions left out",
        *lacking_note(study, KEYS),
    )
    if runs.empty:
        return empty(figure, "No run has kept the confidence of its predictions.")
    rows = figure.subplots(2, len(datasets), squeeze=False, sharex=True, sharey="row", height_ratios=[3, 1])
    for dataset, curve, counts in zip(datasets, *rows, strict=True):
        _panel(curve, counts, runs[runs.dataset == dataset])
        curve.set_title(folded(study.title(dataset)))
        counts.set_xlabel("confidence (%)")
    rows[0, 0].set_ylabel("accuracy (%)")
    rows[1, 0].set_ylabel("share (%)")
    lines = [Line2D([], [], color=s.colour, linestyle=s.line, label=s.label) for s in map(look, ordered(runs.method))]
    figure.legend(handles=lines, loc="outside upper center", ncols=8, fontsize=6.3, columnspacing=0.9, handlelength=1.9)
    return figure


def pooled(bins: NDArray[np.float64]) -> pd.DataFrame:
    """From (15, 3) counts, right predictions and summed confidence: share, accuracy and confidence in percent."""
    count, right, confidence = np.where(bins[:, :1] > 0, bins, np.nan).T
    share = bins[:, 0] / bins[:, 0].sum()
    return 100 * pd.DataFrame({"share": share, "accuracy": right / count, "confidence": confidence / count})


def _panel(curve: Axes, counts: Axes, runs: pd.DataFrame) -> None:
    curve.plot([0, 100], [0, 100], color=GREY, lw=0.6, zorder=1)
    for method in ordered(runs.method):
        style = look(method)
        found = pooled(np.sum(list(runs[runs.method == method].bins), axis=0))
        shown = found[found.share >= 100 * _ENOUGH]
        line = {"color": style.colour, "linestyle": style.line, "lw": 1}
        curve.plot(shown.confidence, shown.accuracy, marker="o", ms=1.8, **line)
        counts.stairs(found.share, np.linspace(0, 100, len(found) + 1), **line)
    if runs.empty:
        empty(curve)
    curve.set(xlim=(0, 100), ylim=(0, 100), aspect="auto")
    counts.yaxis.set_major_locator(MaxNLocator(3))
