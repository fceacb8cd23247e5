"""Average score against what the runs took: time per step, peak memory, time of all runs, energy."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from deflect.analysis import scores
from deflect.analysis.figures.style import PAGE, canvas, empty, method_legend, point, provenance, styled
from deflect.analysis.records import StudyRuns, devices, joules

MEASURES = {"step_ms": "time per training step (ms)", "peak_mb": "peak memory (MB)"}
#: Sums over all runs of a method: label, and units from the largest, with their size in seconds or joules.
TOTALS: dict[str, tuple[str, dict[str, float]]] = {
    "train_s": ("training time of all runs ({})", {"h": 3600, "min": 60, "s": 1}),
    "joules": ("energy of all runs ({})", {"kWh": 3.6e6, "Wh": 3600, "J": 1}),
}


@styled
def cost(study: StudyRuns) -> Figure:
    """A panel for each measure, with one mark per method; that of energy only where records have it."""
    table = costs(study)
    labels = MEASURES | {name: _to_unit(table, name) for name in TOTALS if table[name].notna().any()}
    rows, columns = (2, 2) if len(labels) == 4 else (1, 3)
    figure, grid = canvas(rows, columns, PAGE, 0.4 + 2.2 * rows, sharey=True)
    panels = [axes for row in grid for axes in row]
    memory = "memory on a CPU: of the whole process" if (study.main.device == "cpu").any() else ""
    provenance(figure, study, f"measured on {', '.join(devices(study.main))}", memory)
    if table.empty:
        return empty(figure, "No method has all of its runs.")
    for axes, (measure, label) in zip(panels, labels.items(), strict=True):
        for row in table.dropna(subset=[measure]).itertuples():
            point(axes, getattr(row, measure), row)
        axes.set_xlabel(label)
        axes.margins(0.18, 0.15)
        axes.set_xlim(0, 1.15 * table[measure].max())  # from 0: else 1 % more memory would look like much more
    for row in grid:
        row[0].set_ylabel("average score (%)")
    method_legend(figure, table.method)
    return figure


def costs(study: StudyRuns) -> pd.DataFrame:
    """Average score of every method that has all of its cells, its mean ``MEASURES``, and its ``TOTALS``.

    The total of a method is NaN if one of its runs lacks it.
    """
    runs = study.main.assign(joules=joules(study.main))
    measured = runs.groupby(["method", "dataset", "gfm"])[list(MEASURES)].mean().groupby("method").mean()
    totals = runs.groupby("method")[list(TOTALS)].agg(lambda values: values.sum(skipna=False))
    return scores.averages(study).dropna(subset=["mean"]).merge(measured.join(totals), on="method")


def _to_unit(table: pd.DataFrame, name: str) -> str:
    """Convert a column of totals to the largest unit that its largest value reaches; returns the label."""
    label, units = TOTALS[name]
    unit = next((unit for unit, size in units.items() if table[name].max() >= size), list(units)[-1])
    table[name] /= units[unit]
    return label.format(unit)
