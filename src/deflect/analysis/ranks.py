"""Ranks of the methods over datasets and GFMs, and tests of DEFLECT against each."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from deflect.analysis import scores
from deflect.analysis.bootstrap import Array, bootstrap_scores, holm, image_confusions, two_sided_p
from deflect.analysis.bootstrap import score as score_of
from deflect.analysis.looks import ORACLE, ordered, title, titles
from deflect.analysis.records import CELL, StudyRuns
from deflect.analysis.render import GAP, Cell, PrintedTable, Row, Table, score, signed, span
from deflect.analysis.tables import gap_notes
from deflect.errors import DataError
from deflect.record import PREDICTIONS

REFERENCE = "deflect"
LEVEL = 0.05
_TESTS = ["method", "difference", "low", "high", "p"]
RANKS = ["study", "method", "mean_rank", "wins", "cells", "average", *_TESTS[1:], "p_holm"]


def ranks(study: StudyRuns, resamples: int = 10_000, seed: int = 0) -> Table:
    """Mean rank, wins and paired bootstrap of every method against DEFLECT.

    ``difference`` is DEFLECT minus the method in percentage points, averaged over datasets and GFMs; ``low`` and
    ``high`` bound its 95 % percentile interval over resampled test images; ``p_holm`` is adjusted for testing
    against several methods. Methods that lack a cell have no test.
    """
    tests = _tests(study, resamples, seed)
    frame = _rank(scores.cell_means(study)).merge(tests, on="method", how="left").assign(study=study.name)[RANKS]
    return Table(frame, _printed(frame, study, resamples))


def _rank(cells: pd.DataFrame) -> pd.DataFrame:
    """Ranks over the cells in which every method but the oracle has a score; equal scores share a rank."""
    complete = cells.drop(columns=ORACLE, errors="ignore").dropna()
    wins = complete.eq(complete.max(axis=1), axis=0).sum() if len(complete) else math.nan
    frame = pd.DataFrame(index=cells.columns).assign(
        mean_rank=complete.rank(axis=1, ascending=False, method="average").mean().round(4),
        wins=wins,
        cells=len(complete),
        average=cells.mean(skipna=False).round(4),
    )
    return frame.rename_axis("method").reset_index().sort_values("mean_rank", kind="stable")


def _tests(study: StudyRuns, resamples: int, seed: int) -> pd.DataFrame:
    """Paired bootstrap of the reference against every method that has all of its cells and predictions."""
    averages = resampled_averages(study, resamples, seed)
    observed = scores.averages(study).set_index("method")["mean"]
    rows = []
    for method in ordered(set(averages) - {REFERENCE}) if REFERENCE in averages else ():
        differences = averages[REFERENCE] - averages[method]
        low, high = 100 * np.quantile(differences, [0.025, 0.975])
        difference = round(observed[REFERENCE] - observed[method], 4)
        rows.append([method, difference, round(low, 4), round(high, 4), two_sided_p(differences)])
    tests = pd.DataFrame(rows, columns=_TESTS)
    return tests.assign(p_holm=holm(tests.p.tolist()))


def resampled_averages(study: StudyRuns, resamples: int, seed: int) -> dict[str, Array]:
    """Average score over datasets and GFMs of each method on each resample: method -> (resamples,) fractions.

    The test images of each dataset are resampled separately, in the same way for all GFMs, methods and seeds.
    """
    lacking = set(study.cells().merge(study.main, how="left").query("seed.isna()").method)
    lacking |= {row.method for row in study.main.itertuples() if not (row.folder / PREDICTIONS).exists()}
    runs = study.main[~study.main.method.isin(lacking)]
    parts: list[pd.DataFrame] = []
    for offset, dataset in enumerate(ordered(runs.dataset)):
        mine = runs[runs.dataset == dataset].reset_index(drop=True)
        values = bootstrap_scores(_aligned(mine), mine.metric[0], resamples, seed + offset)
        parts.append(pd.DataFrame(values).groupby([mine.method, mine.gfm]).mean())
    if not parts:  # no predictions
        return {}
    average = pd.concat(parts).groupby(level=0).mean()
    return {str(method): row.to_numpy() for method, row in average.iterrows()}


def _aligned(runs: pd.DataFrame) -> list[Array]:
    """Confusion matrix of each test image, for every run.

    Raises:
        DataError: test images differ between runs, or predictions do not give the recorded score.
    """
    found = [image_confusions(row.folder, row.record) for row in runs.itertuples()]
    for row, (ids, confusions) in zip(runs.itertuples(), found, strict=True):
        path = row.folder / PREDICTIONS
        if not np.array_equal(ids, found[0][0]):
            raise DataError(f"{path}: other test images than in {runs.folder[0]}; delete both folders, train again")
        value = score_of(confusions.sum(axis=0), row.metric)
        if abs(value - row.score) > 1e-4:
            raise DataError(f"{path}: predictions give {row.metric} {value:.5f}, record.json says {row.score:.5f}")
    return [confusions for _, confusions in found]


def evidence(frame: pd.DataFrame, study: StudyRuns) -> str:
    """The results of ranks and tests in two or three sentences."""
    tested = frame[frame.p_holm.notna() & (frame.method != ORACLE)]
    if tested.empty:
        return f"The runs at hand support no statement about {title(REFERENCE)}: a test needs all of its runs."
    clear = tested[tested.p_holm < LEVEL]
    groups = {
        "above": titles(clear[clear.difference > 0].method),
        "below": titles(clear[clear.difference < 0].method),
        "not told apart from": titles(tested[tested.p_holm >= LEVEL].method),
    }
    findings = [f"{word} {' and '.join(names.rsplit(', ', 1))}" for word, names in groups.items() if names]
    ranked = frame.dropna(subset=["mean_rank"])  # none where a method lacks runs
    best = f" The best mean rank has {title(ranked.iloc[0].method)}." if len(ranked) else ""
    seeds = span(map(str, sorted(study.main.groupby(CELL).size())))
    trained = "one training each, so chance in training is not covered" if seeds == "1" else f"{seeds} trainings each"
    return (
        f"On {study.data}, averaged over datasets and GFMs, {title(REFERENCE)} is {'; '.join(findings)} "
        f"(paired bootstrap over test images, Holm-adjusted p < {LEVEL}; {trained}).{best}"
    )


def _printed(frame: pd.DataFrame, study: StudyRuns, resamples: int) -> PrintedTable:
    rows: list[Row] = []
    for row in frame.to_dict("records"):
        interval = f"{signed(row['difference'])} [{signed(row['low'])}, {signed(row['high'])}]"
        texts = [f"{row['mean_rank']:.2f}", f"{row['wins']:.0f}"] if math.isfinite(row["mean_rank"]) else [GAP, ""]
        texts += [score(row["average"])]
        texts += [interval, f"{row['p_holm']:.4f}"] if math.isfinite(row["p_holm"]) else ["", ""]
        rows.append([Cell(text) for text in (title(row["method"]), *texts)])
    notes = [
        f"Rank 1 is best, over the {frame.cells.iloc[0]} cells (dataset x GFM) that all methods have; "
        "the oracle is not ranked.",
        f"Difference: {title(REFERENCE)} minus the method in points, 95 % interval of {resamples:,} paired resamples "
        "of the test images; p: two-sided, Holm-adjusted.",
        evidence(frame, study),
    ]
    header = ["Method", "mean rank", "best in", "average", f"{title(REFERENCE)} minus method", "p"]
    heading = f"Rank of the methods over datasets and GFMs on {study.data}"
    return PrintedTable(heading, header, rows, [*notes, *gap_notes(study)])
