"""Angle and length of DEFLECT's displacements in each block of the GFM."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deflect.analysis.figures.style import PAGE, canvas, empty, folded, heatmap, provenance, styled
from deflect.analysis.looks import ordered
from deflect.analysis.records import StudyRuns, run_arrays
from deflect.record import DEFLECTION

_GFM_LINES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))


def load_deflection(study: StudyRuns) -> pd.DataFrame:
    """``deflection.npz`` of every DEFLECT run of the main grid: one row per run, block and class.

    Columns dataset, gfm, seed, block (from 1), class, count (test tokens), angle (degrees), length (ratio).
    """
    parts = []
    for row in study.deflect_runs(DEFLECTION):
        found = run_arrays(row.folder, row.record, DEFLECTION, ["angle", "length", "count", "classes"])
        blocks, width = found["angle"].shape
        part = {
            "block": np.repeat(np.arange(1, blocks + 1), width),
            "class": np.tile(found["classes"].astype(str), blocks),
            "count": np.tile(found["count"], blocks),
            "angle": np.degrees(found["angle"]).ravel(),
            "length": found["length"].ravel(),
        }
        parts.append(pd.DataFrame(part).assign(dataset=row.dataset, gfm=row.gfm, seed=row.seed))
    columns = ["block", "class", "count", "angle", "length", "dataset", "gfm", "seed"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table[table["count"] > 0]


@styled
def inside_deflect(study: StudyRuns) -> Figure:
    """Angle (top) and length (bottom) by block, a column per dataset and a line per GFM: mean over all test tokens.

    The band is the range of the classes' means.
    """
    table = load_deflection(study)
    datasets, gfms = ordered(table.dataset), ordered(table.gfm)
    figure, grid = canvas(2, max(len(datasets), 1), PAGE, 3.2, sharey="row", sharex="col")
    provenance(figure, study, "lines: mean over test tokens; bands: range over classes")
    if table.empty:
        return empty(figure, "No DEFLECT run has a deflection.npz.")
    for dataset, *panels in zip(datasets, *grid, strict=True):
        for gfm, (colour, marker) in zip(gfms, itertools.cycle(_GFM_LINES), strict=False):
            mine = table[(table.dataset == dataset) & (table.gfm == gfm)]
            for axes, measure in zip(panels, ("angle", "length"), strict=True) if len(mine) else ():
                band = by_block(mine, measure)
                axes.plot(band.index, band["mean"], color=colour, marker=marker, ms=3, lw=1, label=study.title(gfm))
                axes.fill_between(band.index, band["low"], band["high"], color=colour, alpha=0.15, lw=0)
        panels[0].set_title(folded(study.title(dataset)))
        panels[1].set_xlabel("block")
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    angle, length = grid[0][0], grid[1][0]  # axes of a row share their limits
    angle.set_ylabel("angle to the frozen\ndisplacement (°)")
    length.set_ylabel("length / frozen\nlength")
    low, high = length.get_ylim()
    length.set_ylim(min(low, 0.9), max(high, 1.1))  # else a constant 1 would show rounding errors
    angle.set_ylim(bottom=0)
    lines = {line.get_label(): line for axes in grid[0] for line in axes.lines}
    figure.legend(handles=[lines[study.title(gfm)] for gfm in gfms], loc="outside upper center", ncols=len(gfms))
    return figure


def by_block(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Mean over tokens, lowest and highest class in each block; seeds are averaged first."""
    classes = table.groupby(["block", "class"])[[measure, "count"]].mean().reset_index()
    groups = classes.groupby("block")
    mean = groups.apply(lambda g: np.average(g[measure], weights=g["count"]), include_groups=False)
    return pd.DataFrame({"mean": mean, "low": groups[measure].min(), "high": groups[measure].max()})


@styled
def inside_deflect_classes(study: StudyRuns, gfm: str) -> Figure:
    """Angle by class (down) and block (across) for one GFM, a panel per dataset."""
    table = load_deflection(study).query("gfm == @gfm")
    datasets = ordered(table.dataset)
    by_class = table.groupby(["dataset", "class", "block"], sort=False).angle.mean()
    shown = [by_class[dataset].unstack("block", sort=False) for dataset in datasets]
    rows = [max(len(angles), 3) for angles in shown] or [3]
    figure = Figure(figsize=(PAGE / 2 + 0.6, 0.125 * sum(rows) + 0.42 * len(rows) + 0.6), layout="constrained")
    provenance(figure, study, study.title(gfm), "angle in degrees")
    if table.empty:
        return empty(figure, f"No DEFLECT run on {study.title(gfm)} has a deflection.npz.")
    grid = figure.subplots(len(datasets), 1, squeeze=False, gridspec_kw={"height_ratios": rows})[:, 0]
    top = max(float(angles.max().max()) for angles in shown)
    for axes, dataset, angles in zip(grid, datasets, shown, strict=True):
        heatmap(axes, angles, 5.5, vmax=top, cmap="cividis", xticklabels=True)
        axes.set_title(folded(study.title(dataset), 48))
    grid[-1].set_xlabel("block")
    bar: Any = {"location": "right", "aspect": 40, "pad": 0.02, "label": "angle to the frozen displacement (°)"}
    figure.colorbar(grid[0].collections[0], ax=list(grid), **bar)
    return figure
