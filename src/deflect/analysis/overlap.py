"""Whether two methods fail on the same test images."""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deflect.analysis.records import StudyRuns, has_arrays, run_arrays
from deflect.record import PREDICTIONS

KEYS = ["labels", "predictions"]


class Agreement(NamedTuple):
    """Share of images that two models both get wrong, the share if they failed independently, and Cohen's kappa."""

    both: float
    expected: float
    kappa: float


def agreement(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Agreement:
    """Of the errors (N,) of two models on the same images; kappa is NaN if both get all of them right, or all wrong."""
    rates = first.mean(), second.mean()
    chance = rates[0] * rates[1] + (1 - rates[0]) * (1 - rates[1])
    kappa = (np.mean(first == second) - chance) / (1 - chance) if chance < 1 else math.nan
    return Agreement(float(np.mean(first & second)), float(rates[0] * rates[1]), float(kappa))


def load_overlap(study: StudyRuns) -> pd.DataFrame:
    """Mean `Agreement` over datasets and GFMs: one row per ordered pair of methods, ``first`` and ``second``.

    Classification only: an image of a segmentation is neither right nor wrong. Pairs of two methods have the same seed;
    a method is paired with itself in other seeds, which shows how much of the rest is chance in training. Shares are
    fractions; ``kappa`` is the mean over cells that have one.
    """
    runs = study.main[study.main.task == "classification"]
    rows = []
    for (dataset, gfm), cell in runs.groupby(["dataset", "gfm"]):
        wrong = {}
        for row in cell.itertuples():
            if has_arrays(row.folder, PREDICTIONS, KEYS):
                found = run_arrays(row.folder, row.record, PREDICTIONS, KEYS)
                wrong[row.method, row.seed] = found["labels"] != found["predictions"]
        for (first, one), (second, other) in combinations(wrong, 2):
            if (first == second) == (one != other):
                shares = agreement(wrong[first, one], wrong[second, other])
                rows += [(*pair, dataset, gfm, *shares) for pair in {(first, second), (second, first)}]
    frame = pd.DataFrame(rows, columns=["first", "second", "dataset", "gfm", *Agreement._fields])
    by_cell = frame.groupby(["first", "second", "dataset", "gfm"])[list(Agreement._fields)].mean()
    return by_cell.groupby(["first", "second"]).mean().reset_index()
