"""Every known number of the paper next to ours: difference, tolerance, verdict. Unknown numbers stay empty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from deflect.analysis import scores
from deflect.analysis.looks import ordered, title
from deflect.analysis.records import StudyRuns, metrics_of
from deflect.analysis.render import Cell, PrintedTable, Row, Table, score, signed
from deflect.analysis.tables import gap_notes
from deflect.errors import DataError
from deflect.settings import GFMS

_CELL = ["gfm", "method", "variant", "dataset"]
_NUMBERS = ["value", "low", "high", "share", "tolerance"]
REFERENCE_COLUMNS = ["source", *_CELL, "metric", "ours", *_NUMBERS, "confidence", "note"]
_TEXTS = [name for name in REFERENCE_COLUMNS if name not in _NUMBERS]
COLUMNS = ["study", "source", *_CELL, "metric", "paper", "low", "high", "paper_share"]
COLUMNS += ["our_metric", "ours", "ours_ci95", "n", "our_share"]
COLUMNS += ["difference", "tolerance", "verdict", "confidence", "note"]
INSIDE, OUTSIDE, NO_RUN, NOT_COMPARABLE = "inside", "outside", "no run", "not comparable"


def load_references(path: Path | str) -> pd.DataFrame:
    """``references/paper.csv``, checked: every row has a number with its tolerance, or a range.

    Raises:
        DataError: the message names file and row.
    """
    table = pd.read_csv(path, dtype=dict.fromkeys(_TEXTS, str))
    if list(table.columns) != REFERENCE_COLUMNS:
        raise DataError(f"{path}: expected columns {', '.join(REFERENCE_COLUMNS)}, found {', '.join(table.columns)}")
    for line, row in enumerate(table.itertuples(), start=2):
        number, ranged = pd.notna(row.value), pd.notna(row.low) and pd.notna(row.high)
        if number == ranged or (number and pd.isna(row.tolerance)):
            raise DataError(f"{path}: line {line}: expected a value with its tolerance, or low and high")
    return table.fillna(dict.fromkeys(_TEXTS, ""))


def comparison(study: StudyRuns, references: pd.DataFrame) -> Table:
    """Known cells first, each with our candidate metrics; then our cells that the paper leaves unknown.

    Verdicts (inside or outside the tolerance or range) need a study that is comparable: real data, published GFMs.
    """
    rows = [row for reference in references.to_dict("records") for row in _known(study, reference)]
    frame = pd.DataFrame([*rows, *_unknown(study)], columns=COLUMNS).assign(study=study.name)
    frame = frame[frame.source.notna() | ~frame.duplicated([*_CELL, "our_metric"])]
    return Table(frame, _printed(frame, study))


def why_not_comparable(study: StudyRuns) -> str:
    """In what a study that is not comparable differs from the paper's."""
    return "simulated data and small GFMs" if study.simulated else "GFMs without their published weights"


def _known(study: StudyRuns, reference: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one known number: one for each of its GFMs and each of our metrics that it may be."""
    shared = {key: value for key, value in reference.items() if key in COLUMNS}
    shared |= {"paper": reference["value"], "paper_share": reference["share"]}
    for gfm in ordered({*study.main.gfm} & {*GFMS}) if reference["gfm"] == "*" else [reference["gfm"]]:
        for metric in reference["ours"].split("|"):
            row = shared | {"gfm": gfm, "our_metric": metric}
            row |= _ours(study, row)
            yield row | {"difference": math.nan} | _judge(row, study.comparable)


def _ours(study: StudyRuns, cell: dict[str, Any]) -> dict[str, Any]:
    """Our mean, interval and share for one cell; empty where there is no run. Without a dataset: over all of them."""
    keys = [key for key in _CELL if key != "dataset" or cell["dataset"]]
    runs, metric = study.runs[(study.runs[keys] == [cell[key] for key in keys]).all(axis=1)], cell["our_metric"]
    if runs.empty or not metric:
        return {"ours": math.nan, "ours_ci95": math.nan, "n": 0, "our_share": math.nan}
    share = round(runs.tuned_percent.mean(), 6)
    if metric == "tuned_percent":
        return {"ours": share, "ours_ci95": math.nan, "n": len(runs), "our_share": share}
    found = scores.percent([metrics_of(record).get(metric, math.nan) for record in runs.record])
    return {"ours": found["mean"], "ours_ci95": found["ci95"], "n": found["n"], "our_share": share}


def _judge(row: dict[str, Any], comparable: bool) -> dict[str, Any]:
    """Verdict of one row, and the difference where the paper gives a number."""
    if not row["method"]:
        return {"verdict": ""}
    if not comparable:
        return {"verdict": NOT_COMPARABLE}
    if not math.isfinite(row["ours"]):
        return {"verdict": NO_RUN}
    if math.isfinite(row["paper"]):
        difference = round(row["ours"] - row["paper"], 4)
        return {"difference": difference, "verdict": INSIDE if abs(difference) <= row["tolerance"] else OUTSIDE}
    return {"verdict": INSIDE if row["low"] <= row["ours"] <= row["high"] else OUTSIDE}


def _unknown(study: StudyRuns) -> list[dict[Any, Any]]:
    """Our headline cells, without the paper's columns."""
    renamed = {"metric": "our_metric", "mean": "ours", "ci95": "ours_ci95", "tuned_percent": "our_share"}
    cells = scores.headline(scores.by_cell(study))[["gfm", "method", "dataset", "n", *renamed]]
    return cells.rename(columns=renamed).assign(variant="", verdict="").to_dict("records")


def _printed(frame: pd.DataFrame, study: StudyRuns) -> PrintedTable:
    rows: list[Row] = []
    for source, group in frame[frame.source.notna()].groupby("source", sort=False):
        rows.append(str(source))
        rows += [[Cell(text) for text in _texts(row, study)] for row in group.to_dict("records")]
    notes = [
        "Paper and ours in %, difference in points; verdict: inside or outside the tolerance or the range.",
        "Known cells only; every other cell of the paper's tables is unknown and stays empty in comparison.csv.",
    ]
    if not study.comparable:
        why = why_not_comparable(study)
        notes.insert(0, f"Not comparable: {why}. Our numbers are shown to check the table alone.")
    header = ["Cell", "metric", "paper", "our metric", "ours", "difference", "tolerance", "verdict", "confidence"]
    return PrintedTable(f"Comparison with the paper, study {study.name}", header, rows, [*notes, *gap_notes(study)])


def _texts(row: dict[str, Any], study: StudyRuns) -> list[str]:
    """The cells of one printed row."""
    known = {key for key in ("paper", "ours", "difference", "tolerance") if math.isfinite(row[key])}
    cell = [study.title(row[key]) for key in ("method", "gfm", "dataset") if row[key]]
    metric, decimals = title(row["our_metric"]), 1
    if metric == "tuned_percent":
        metric, decimals = "share tuned", 2
    elif metric.startswith("IoU:"):
        metric = f"IoU of {metric.removeprefix('IoU:')}"
    return [
        ", ".join(cell if row["method"] else ["method unknown", *cell]),
        row["metric"],
        f"{row['paper']:g}" if "paper" in known else f"{row['low']:g}–{row['high']:g}",
        metric,
        score(row["ours"], row["ours_ci95"], decimals) if "ours" in known else "",
        signed(row["difference"], decimals) if "difference" in known else "",
        f"{row['tolerance']:g}" if "tolerance" in known else "",
        row["verdict"],
        row["confidence"],
    ]


def verdict_counts(frame: pd.DataFrame) -> dict[str, int]:
    """The number of known cells with each verdict."""
    return frame[frame.source.notna() & (frame.verdict != "")].verdict.value_counts().to_dict()
