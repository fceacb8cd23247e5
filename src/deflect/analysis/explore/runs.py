"""What the page shows of each run: a row of the table of runs, and its record without long arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from deflect.analysis.figures.curves import history_of
from deflect.analysis.looks import place, title
from deflect.analysis.records import StudyRuns
from deflect.analysis.scores import percent
from deflect.record import HISTORY

#: Column of the table -> decimals of its numbers, None for text.
COLUMNS = {
    "Dataset": None,
    "GFM": None,
    "Method": None,
    "Variant": None,
    "Seed": 0,
    "Score (%)": 1,
    "Metric": None,
    "Tuned (%)": 3,
    "Tuned parameters": 0,
    "Head parameters": 0,
    "Training (s)": 1,
    "Step (ms)": 1,
    "Memory (MB)": 0,
    "Part": None,
}
#: Matrices and lists by image or band, which are in the record's file.
LEFT_OUT = ("confusion", "images", "seal")
DIGITS = 6


def in_order(study: StudyRuns) -> pd.DataFrame:
    """The study's runs in the project's order, each variant after its method."""
    keys = ["dataset", "gfm", "method", "variant", "seed"]
    return study.runs.sort_values(keys, key=lambda column: column if column.name == "seed" else column.map(place))


def row(study: StudyRuns, run: Any) -> list[Any]:
    """The values of `COLUMNS` for a row of the study's table; scores as in ``tables/main.csv``."""
    return [
        study.title(run.dataset),
        study.title(run.gfm),
        title(run.method),
        run.variant,
        run.seed,
        score(run),
        title(run.metric),
        _rounded(run.tuned_percent),
        run.tuned_params,
        run.head_params,
        _rounded(run.train_s),
        _rounded(run.step_ms),
        _rounded(run.peak_mb),
        run.part,
    ]


def score(run: Any) -> float:
    """The headline score of one run as the tables have it."""
    return float(percent([run.score])["mean"])


def record(run: Any) -> dict[str, Any]:
    """A run's record without long arrays, numbers to six digits, and its validation scores by epoch."""
    kept = {key: _rounded(value) for key, value in run.record.items() if key not in LEFT_OUT}
    if (run.folder / HISTORY).exists():
        history = history_of(run.folder, run.record)
        kept["curve"] = [history.epoch.tolist(), _rounded(history.val_score.tolist())]
    return kept


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
