"""Paired comparison of two sets of runs: bootstrap over test images and, where there are several, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from deflect.analysis.bootstrap import (
    LEVEL,
    Array,
    Rule,
    bootstrap_scores,
    detectable,
    image_results,
    score,
    seed_weights,
    two_sided_p,
)
from deflect.analysis.looks import ordered
from deflect.errors import DataError
from deflect.record import PREDICTIONS

#: What two runs share that are compared.
KEYS = ["dataset", "gfm", "seed"]


class Comparison(NamedTuple):
    """A difference in percentage points with its 95 % percentile interval, two-sided p and `bootstrap.detectable`."""

    difference: float
    low: float
    high: float
    p: float
    detectable: float


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, resamples: int = 10_000, seed: int = 0) -> Comparison:
    """Average score of ``ours`` minus ``theirs`` over the datasets, GFMs and seeds that both have.

    Args:
        ours, theirs: rows of `StudyRuns.runs`, e.g. of a variant and of its method, with predictions.

    Raises:
        DataError, FileNotFoundError: no run of ``ours`` has a partner, or predictions are missing or do not fit.
    """
    pairs = ours[KEYS].merge(theirs[KEYS])
    if pairs.empty:
        raise DataError(
            f"{ours.run.iloc[0]}: expected a run with its dataset, GFM and seed to compare with, found none"
        )
    runs = pd.concat([ours.merge(pairs).assign(side="ours"), theirs.merge(pairs).assign(side="theirs")])
    observed = runs.groupby(["side", "dataset", "gfm"]).score.mean().groupby("side").mean()
    averages = resampled_averages(runs, "side", resamples, seed)
    return comparison(averages["ours"] - averages["theirs"], 100 * (observed["ours"] - observed["theirs"]))


def comparison(differences: Array, observed: float) -> Comparison:
    """From the ``differences`` on all resamples (fractions) and the ``observed`` one in points."""
    low, high = 100 * np.quantile(differences, [LEVEL / 2, 1 - LEVEL / 2])
    points = (round(float(value), 4) for value in (observed, low, high, 100 * detectable(differences)))
    difference, low, high, smallest = points
    return Comparison(difference, low, high, two_sided_p(differences), smallest)


def resampled_averages(runs: pd.DataFrame, by: str, resamples: int, seed: int) -> dict[str, Array]:
    """Average score over datasets and GFMs on each resample: value of the column ``by`` -> (resamples,) fractions.

    The test images of each dataset are resampled separately, in the same way for all of its runs, and so are its
    `shared_seeds`; without several of them, images alone.
    """
    parts: list[pd.DataFrame] = []
    for offset, dataset in enumerate(ordered(runs.dataset)):
        mine = runs[runs.dataset == dataset]
        seeds = shared_seeds(mine, by)
        mine = (mine[mine.seed.isin(seeds)] if seeds else mine).reset_index(drop=True)
        rules = [_rule(record) for record in mine.record]
        values = bootstrap_scores(_aligned(mine), rules, resamples, seed + offset)
        if seeds:
            values *= seed_weights(len(seeds), resamples, seed + offset)[[seeds.index(own) for own in mine.seed]]
        parts.append(pd.DataFrame(values).groupby([mine[by], mine.gfm]).mean())
    average = pd.concat(parts).groupby(level=0).mean() if parts else pd.DataFrame()
    return {str(name): row.to_numpy() for name, row in average.iterrows()}


def shared_seeds(runs: pd.DataFrame, by: str) -> list[int]:
    """The seeds that ``runs`` of one dataset have for every GFM and value of ``by``, if there are several."""
    shared = set.intersection(*(set(seeds) for _, seeds in runs.groupby([by, "gfm"]).seed))
    return sorted(shared) if len(shared) > 1 else []


def _rule(record: Mapping[str, Any]) -> Rule:
    """How a run is scored; records of older versions leave absent classes out."""
    return Rule(record["score"]["metric"], record["settings"]["training"].get("absent_classes", "left_out"))


def _aligned(runs: pd.DataFrame) -> list[Array]:
    """What the score needs of each test image, for every run.

    Raises:
        DataError: test images differ between runs, or predictions do not give the recorded score.
    """
    found = [image_results(row.folder, row.record) for row in runs.itertuples()]
    for row, (ids, images) in zip(runs.itertuples(), found, strict=True):
        path = row.folder / PREDICTIONS
        if not np.array_equal(ids, found[0][0]):
            raise DataError(f"{path}: other test images than in {runs.folder[0]}; delete both folders, train again")
        value = score(images, *_rule(row.record))
        if abs(value - row.score) > 1e-4:
            raise DataError(f"{path}: predictions give {row.metric} {value:.5f}, record.json says {row.score:.5f}")
    return [images for _, images in found]
