"""Runs with the settings that a search chose, next to those of the same methods in the main grid."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from deflect.analysis.looks import ordered, title
from deflect.analysis.paired import compare
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import GAP, Cell, PrintedTable, Row, Table, counted, interval, score, signed, span
from deflect.analysis.tables import AVERAGE, gap_notes
from deflect.record import PREDICTIONS

KEYS = ["dataset", "gfm", "method", "seed"]
TUNED = ["study", "dataset", "method", "main", "tuned", "difference", "low", "high", "detectable", "n"]
TUNED += ["main_lr", "lr", "main_rank", "rank", "trials", "search_minutes", "search_trainings"]
NOTHING = "No such runs in this study; `tuning` in config.yaml asks for them."


def tuned(study: StudyRuns, resamples: int = 10_000, seed: int = 0) -> Table:
    """Every tuned method next to the same method in the main grid, per dataset and on average over datasets and GFMs.

    ``difference`` is tuned minus main over the same runs, in percentage points; ``low`` and ``high`` bound its 95 %
    interval, see `paired.compare`. ``search_minutes`` are those of all trials, ``search_trainings`` the same as a
    multiple of one training per dataset and GFM. Where GFMs differ, settings are a range. A method that lacks a run
    which another one has shows a gap, not an average over fewer runs.
    """
    tuned_runs, main = (
        runs.set_index(KEYS, drop=False) for runs in (study.runs[study.runs.part == "tuned"], study.main)
    )
    rows = []
    for dataset in [*ordered(tuned_runs.dataset), AVERAGE] if len(tuned_runs) else []:
        part = tuned_runs if dataset == AVERAGE else tuned_runs[tuned_runs.dataset == dataset]
        wanted = len(part[["dataset", "gfm", "seed"]].drop_duplicates())
        for method in ordered(tuned_runs.method):
            ours = part[(part.method == method) & part.index.isin(main.index)]
            found = _compare(ours, main.loc[ours.index], resamples, seed) if len(ours) == wanted else {"n": 0}
            rows.append({"study": study.name, "dataset": dataset, "method": method, **found})
    frame = pd.DataFrame(rows, columns=TUNED)
    return Table(frame, _printed(frame, study, resamples))


def _compare(ours: pd.DataFrame, theirs: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """Scores, difference, settings and cost of tuned runs ``ours`` and, row by row, those of the main grid."""
    ours, theirs = (runs.reset_index(drop=True) for runs in (ours, theirs))
    cells = [runs.groupby(["dataset", "gfm"]) for runs in (ours, theirs)]
    tuned, main = (100 * cell.score.mean().mean() for cell in cells)
    searches = [record["search"] for record in cells[0].record.first()]  # one for all seeds
    seconds = sum(search["seconds"] for search in searches)
    return {
        "main": round(main, 4),
        "tuned": round(tuned, 4),
        "difference": round(tuned - main, 4),
        **_interval(ours, theirs, resamples, seed),
        "n": ours.seed.nunique(),
        "main_lr": _span(theirs, "training", "lr"),
        "lr": _span(ours, "training", "lr"),
        "main_rank": _span(theirs, "method", "rank"),
        "rank": _span(ours, "method", "rank"),
        "trials": span(map(str, sorted({search["trials"] for search in searches}))),
        "search_minutes": round(seconds / 60, 4),
        "search_trainings": round(seconds / cells[1].train_s.mean().sum(), 4),
    }


def _interval(ours: pd.DataFrame, theirs: pd.DataFrame, resamples: int, seed: int) -> dict[str, float]:
    """Interval of the difference and the smallest one that can be shown, in points; nothing without predictions."""
    if not all((folder / PREDICTIONS).exists() for folder in (*ours.folder, *theirs.folder)):
        return {}
    found = compare(ours, theirs, resamples, seed)
    return {"low": found.low, "high": found.high, "detectable": found.detectable}


def _span(runs: pd.DataFrame, settings: str, name: str) -> str:
    """A setting of the runs, as a range where they differ; empty for methods without it."""
    values = sorted({record["settings"][settings].get(name) for record in runs.record} - {None})
    return span(f"{value:.3g}" for value in values) if values else ""


def _printed(frame: pd.DataFrame, study: StudyRuns, resamples: int) -> PrintedTable:
    rows: list[Row] = []
    for dataset in frame.dataset.drop_duplicates():
        rows.append(AVERAGE if dataset == AVERAGE else study.title(dataset))
        rows += [_row(found) for found in frame[frame.dataset == dataset].to_dict("records")]
    trials = span(sorted(set(frame.trials.dropna())))
    notes = [
        f"Settings: of the main grid → chosen on validation alone in {trials} trials per dataset, GFM and method; the "
        "first trial has those of the main grid.",
        f"Difference: tuned minus main grid in points, 95 % interval of {resamples:,} paired resamples of the test "
        "images, and of the seeds where there are several; detectable: the smallest one found with a power of 80 %.",
        "Search: time of all trials, and as a multiple of one training per dataset and GFM.",
        f"Scores: mean over GFMs and {counted(int(max(frame.n, default=0)), 'seed')}; trials have the first seed.",
    ]
    heading = f"Tuned settings: test scores in % on {study.data}"
    header = ["Method", "main grid", "tuned", "difference", "detectable", "learning rate", "rank", "search"]
    return PrintedTable(heading, header, rows, [*(notes if rows else [NOTHING]), *gap_notes(study)])


def _row(found: dict[str, Any]) -> list[Cell]:
    if not found["n"]:
        return [Cell(title(found["method"])), *[Cell(GAP)] * 7]
    tested, difference = math.isfinite(found["low"]), signed(found["difference"])
    if tested:
        difference = interval(found["difference"], found["low"], found["high"])
    settings = [f"{found[f'main_{name}']} → {found[name]}" if found[name] else "" for name in ("lr", "rank")]
    cost = f"{found['search_minutes']:.3g} min, {found['search_trainings']:.1f}×"
    texts = [title(found["method"]), score(found["main"]), score(found["tuned"]), difference]
    texts += [score(found["detectable"]) if tested else "", *settings, cost]
    return [Cell(text) for text in texts]
