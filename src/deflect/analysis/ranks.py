"""Ranks of the methods over datasets and GFMs, and tests of DEFLECT against each."""

from __future__ import annotations

import math

import pandas as pd

from deflect.analysis import scores
from deflect.analysis.bootstrap import LEVEL, POWER, holm
from deflect.analysis.looks import ORACLE, ordered, title, titles
from deflect.analysis.paired import Comparison, comparison, resampled_averages, shared_seeds
from deflect.analysis.records import CELL, StudyRuns
from deflect.analysis.render import GAP, Cell, PrintedTable, Row, Table, interval, score, span
from deflect.analysis.tables import gap_notes
from deflect.record import PREDICTIONS

REFERENCE = "deflect"
RANKS = ["study", "method", "mean_rank", "wins", "cells", "average", *Comparison._fields, "p_holm"]


def ranks(study: StudyRuns, resamples: int = 10_000, seed: int = 0) -> Table:
    """Mean rank, wins and paired bootstrap of every method against DEFLECT.

    ``difference`` is DEFLECT minus the method in percentage points, averaged over datasets and GFMs; ``low`` and
    ``high`` bound its 95 % percentile interval over resampled test images and seeds; ``detectable`` is the smallest
    true difference that these would show; ``p_holm`` is adjusted for testing against several methods. Methods that
    lack a cell have no test.
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
    """The reference compared with every other of the methods that can be tested."""
    averages = resampled_averages(testable(study), "method", resamples, seed)
    observed = scores.averages(study).set_index("method")["mean"]
    rows = []
    for method in ordered(set(averages) - {REFERENCE}) if REFERENCE in averages else ():
        differences = averages[REFERENCE] - averages[method]
        rows.append([method, *comparison(differences, observed[REFERENCE] - observed[method])])
    tests = pd.DataFrame(rows, columns=["method", *Comparison._fields])
    return tests.assign(p_holm=holm(tests.p.tolist()))


def testable(study: StudyRuns) -> pd.DataFrame:
    """The runs of the main grid of the methods that have all of their cells and predictions."""
    lacking = set(study.cells().merge(study.main, how="left").query("seed.isna()").method)
    lacking |= {row.method for row in study.main.itertuples() if not (row.folder / PREDICTIONS).exists()}
    return study.main[~study.main.method.isin(lacking)]


def resampled(study: StudyRuns) -> str:
    """What the bootstrap of a study's tests resamples."""
    seeds = [len(shared_seeds(runs, "method")) for _, runs in testable(study).groupby("dataset")]
    if not any(seeds):
        return "test images"
    return "test images and seeds" if all(seeds) else "test images, and of seeds where all methods share several"


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
        f"(paired bootstrap over {resampled(study)}, Holm-adjusted p < {LEVEL}; {trained}).{best}"
    )


def _printed(frame: pd.DataFrame, study: StudyRuns, resamples: int) -> PrintedTable:
    rows: list[Row] = []
    for row in frame.to_dict("records"):
        texts = [f"{row['mean_rank']:.2f}", f"{row['wins']:.0f}"] if math.isfinite(row["mean_rank"]) else [GAP, ""]
        texts += [score(row["average"])]
        difference = interval(row["difference"], row["low"], row["high"])
        tested = [difference, f"{row['p_holm']:.4f}", score(row["detectable"])]
        texts += tested if math.isfinite(row["p_holm"]) else [""] * len(tested)
        rows.append([Cell(text) for text in (title(row["method"]), *texts)])
    notes = [
        f"Rank 1 is best, over the {frame.cells.iloc[0]} cells (dataset x GFM) that all methods have; "
        "the oracle is not ranked.",
        f"Difference: {title(REFERENCE)} minus the method in points, 95 % interval of {resamples:,} paired resamples "
        f"of the {resampled(study)}; p: two-sided, Holm-adjusted.",
        f"Detectable: the smallest true difference in points that one such test, two-sided at {100 * LEVEL:g} %, finds "
        f"with a power of {100 * POWER:g} %.",
        evidence(frame, study),
    ]
    header = ["Method", "mean rank", "best in", "average", f"{title(REFERENCE)} minus method", "p", "detectable"]
    heading = f"Rank of the methods over datasets and GFMs on {study.data}"
    return PrintedTable(heading, header, rows, [*notes, *gap_notes(study)])
