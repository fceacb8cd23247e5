"""Calibration on the test split: whether the model's confidence is the share of right predictions.

The expected calibration error (ECE) is the mean distance of accuracy and confidence over 15 equal bins of confidence,
weighted by their predictions (Guo et al., On Calibration of Modern Neural Networks, ICML 2017). The negative
log-likelihood (NLL) of the true classes also rewards accuracy. In a segmentation every labelled pixel is a prediction,
in a multilabel every class of an image. Regressions have no confidence and are left out.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deflect.analysis.looks import ORACLE, ordered, title
from deflect.analysis.records import CELL, StudyRuns, has_arrays, run_arrays
from deflect.analysis.render import Cell, PrintedTable, Row, Table, counted, marks, score
from deflect.analysis.tables import AVERAGE, gap_notes
from deflect.record import PREDICTIONS, REMEDY
from deflect.settings import REGRESSIONS

KEYS = ["reliability", "nll"]
#: Column, heading in the printed table and decimals of each measure.
MEASURES = (("ece", "Expected calibration error in %", 1), ("nll", "Negative log-likelihood", 3))
COLUMNS = ["study", "dataset", "method", "ece", "nll", "cells"]


def calibration(study: StudyRuns) -> Table:
    """ECE in percent and NLL of each method per dataset, averaged over seeds and GFMs, and over all datasets.

    A method without the arrays of one of its cells has a gap, as averages over different cells cannot be compared.
    """
    runs = load_calibration(study)
    cells = study.cells()
    cells = cells[~cells.dataset.isin(study.main[study.main.task.isin(REGRESSIONS)].dataset)]
    cells = cells.merge(runs.groupby(CELL, as_index=False)[["ece", "nll"]].mean(), how="left")
    parts = [cells, cells.assign(dataset=AVERAGE)]
    rows = [
        {"dataset": dataset, "method": method, "cells": len(group)}
        | group[["ece", "nll"]].mean(skipna=False).round(4).to_dict()
        for part in parts
        for dataset in ordered(part.dataset)
        for method in ordered(part.method)
        if len(group := part[(part.dataset == dataset) & (part.method == method)])
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS[1:]).assign(study=study.name)[COLUMNS]
    return Table(frame, _printed(frame, study))


def load_calibration(study: StudyRuns) -> pd.DataFrame:
    """The runs of the main grid with the arrays: columns of the run, ``ece`` (%), ``nll`` and ``bins`` (15, 3)."""
    rows = []
    for row in study.main.itertuples():
        if has_arrays(row.folder, PREDICTIONS, KEYS):
            found = run_arrays(row.folder, row.record, PREDICTIONS, KEYS)
            bins = found["reliability"].sum(axis=0, dtype=float)
            nll = found["nll"].sum(dtype=float) / bins[:, 0].sum()
            rows.append((*(getattr(row, axis) for axis in CELL), row.seed, 100 * ece(bins), nll, bins))
    return pd.DataFrame(rows, columns=[*CELL, "seed", "ece", "nll", "bins"]).astype({"ece": float, "nll": float})


def ece(bins: NDArray[np.float64]) -> float:
    """Expected calibration error as a fraction, from (15, 3): predictions, right ones and summed confidence per bin."""
    count, right, confidence = bins.T
    return float(np.abs(right - confidence).sum() / count.sum())


def lacking_note(study: StudyRuns, keys: list[str]) -> list[str]:
    """The runs of the main grid without the arrays ``keys``, and what to do; empty if all have them."""
    runs = study.main[~study.main.task.isin(REGRESSIONS)].itertuples()
    lacking = [row.run for row in runs if not has_arrays(row.folder, PREDICTIONS, keys)]
    if not lacking:
        return []
    runs = f"{counted(len(lacking), 'run')} of an earlier version {'have' if len(lacking) > 1 else 'has'}"
    named = ", ".join(lacking[:3]) + (" ..." if len(lacking) > 3 else "")
    return [f"{runs} no {', '.join(keys)} in {PREDICTIONS} ({named}); {REMEDY}."]


def _printed(frame: pd.DataFrame, study: StudyRuns) -> PrintedTable:
    datasets = [*ordered(set(frame.dataset) - {AVERAGE}), *[AVERAGE] * bool(len(frame))]
    methods = ordered(frame.method)
    rows: list[Row] = []
    for measure, heading, decimals in MEASURES:
        wide = frame.pivot(index="method", columns="dataset", values=measure).reindex(methods)[datasets]
        columns = [[Cell(title(method)) for method in methods]]
        for name in datasets:
            values = wide[name].tolist()
            ranked = [math.nan if method == ORACLE else -value for method, value in zip(methods, values, strict=True)]
            best = marks(ranked, decimals)
            columns.append(
                [Cell(score(value, decimals=decimals), mark) for value, mark in zip(values, best, strict=True)]
            )
        rows += [heading, *map(list, zip(*columns, strict=True))]
    notes = [
        f"Lowest in bold, second underlined, among all but {title(ORACLE).lower()} (the oracle). Averaged over GFMs "
        "and seeds; 15 equal bins of the predicted class's probability, without any recalibration.",
        *lacking_note(study, KEYS),
        *gap_notes(study),
    ]
    heading = f"Calibration on the test split of {study.data}, study {study.name}"
    return PrintedTable(heading, ["Method", *map(study.title, datasets)], rows, notes)
