"""Average score against time per training step and peak memory."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from deflect.analysis import scores
from deflect.analysis.figures.style import PAGE, canvas, empty, method_legend, point, provenance, styled
from deflect.analysis.records import StudyRuns, devices

MEASURES = {"step_ms": "time per training step (ms)", "peak_mb": "peak memory (MB)"}


@styled
def cost(study: StudyRuns) -> Figure:
    """A panel for time and one for memory, averaged over datasets and GFMs: one mark per method."""
    table = costs(study)
    figure, [panels] = canvas(1, 2, PAGE, 2.6, sharey=True)
    memory = "memory on a CPU: of the whole process" if (study.main.device == "cpu").any() else ""
    provenance(figure, study, f"measured on {', '.join(devices(study.main))}", memory)
    if table.empty:
        return empty(figure, "No method has all of its runs.")
    for axes, (measure, label) in zip(panels, MEASURES.items(), strict=True):
        for row in table.itertuples():
            point(axes, getattr(row, measure), row)
        axes.set_xlabel(label)
        axes.margins(0.18, 0.15)
        axes.set_xlim(0, 1.15 * table[measure].max())  # from 0: else 1 % more memory would look like much more
    panels[0].set_ylabel("average score (%)")
    method_legend(figure, table.method)
    return figure


def costs(study: StudyRuns) -> pd.DataFrame:
    """Average score, ``step_ms`` and ``peak_mb`` of every method that has all of its cells."""
    measured = study.main.groupby(["method", "dataset", "gfm"])[list(MEASURES)].mean().groupby("method").mean()
    return scores.averages(study).dropna(subset=["mean"]).merge(measured, on="method")
