"""Every known number of the paper next to ours: difference, tolerance, verdict. What is not known stays empty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deflect.analysis import scores
from deflect.analysis.looks import ordered, title
from deflect.analysis.records import StudyRuns, metrics_of
from deflect.analysis.render import Cell, PrintedTable, Table, score, signed
from deflect.analysis.tables import gap_notes
from deflect.errors import DataError

REFERENCE_COLUMNS = ["source", "gfm", "method", "variant", "dataset", "metric", "ours", "value", "low", "high"]
REFERENCE_COLUMNS += ["share", "tolerance", "confidence", "note"]
_NUMBERS = ("value", "low", "high", "share", "tolerance")
_TEXTS = [name for name in REFERENCE_COLUMNS if name not in _NUMBERS]
COLUMNS = ["study", "source", "gfm", "method", "variant", "dataset", "metric", "paper", "low", "high", "paper_share"]
COLUMNS += ["our_metric", "ours", "ours_ci95", "n", "our_share"]
COLUMNS += ["difference", "tolerance", "verdict", "confidence", "note"]
INSIDE, OUTSIDE, NO_RUN, NOT_COMPARABLE = "inside", "outside", "no run", "not comparable"


def load_references(path: Path | str) -> pd.DataFrame:
    """``references/paper.csv``, checked: every row has a number or a range, and a number has a tolerance.

    Raises:
        DataError: the message names file, row and fault.
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
    rows = [row for reference in references.to_dict("records") for row in _beside(study, reference)]
    known = {_place(row) for row in rows}
    rows += [row for row in _unknown(study) if _place(row) not in known]
    frame = pd.DataFrame(rows, columns=COLUMNS).assign(study=study.name)
    return Table(frame, _printed(frame, study))


def _place(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[key] for key in ("gfm", "method", "variant", "dataset", "our_metric"))


def _beside(study: StudyRuns, reference: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one known number: one per GFM it is about and per metric of ours that it may be."""
    gfms = ordered(study.main.gfm) if reference["gfm"] == "*" else [reference["gfm"]]
    shared = {key: value for key, value in reference.items() if key in COLUMNS}
    shared |= {"paper": reference["value"], "paper_share": reference["share"]}
    for gfm in gfms:
        for metric in reference["ours"].split("|"):
            row = shared | {"gfm": gfm, "our_metric": metric}
            row |= _ours(study, row)
            yield row | _judge(row, study.comparable)


def _ours(study: StudyRuns, cell: dict[str, Any]) -> dict[str, Any]:
    """Our mean, interval and share for one cell; empty where there is no run. Without a dataset: over all of them."""
    keys = ["gfm", "method", "variant", *(["dataset"] if cell["dataset"] else [])]
    runs, metric = study.runs[(study.runs[keys] == [cell[key] for key in keys]).all(axis=1)], cell["our_metric"]
    if runs.empty or not metric:
        return {"ours": math.nan, "ours_ci95": math.nan, "n": 0, "our_share": math.nan}
    share = round(runs.tuned_percent.mean(), 6)
    if metric == "tuned_percent":
        return {"ours": share, "ours_ci95": math.nan, "n": len(runs), "our_share": share}
    values = [metrics_of(record).get(metric, np.nan) for record in runs.record]
    summary = scores.summarise(100 * np.asarray(values))
    return {"ours": round(summary.mean, 4), "ours_ci95": round(summary.ci95, 4), "n": summary.n, "our_share": share}


def _judge(row: dict[str, Any], comparable: bool) -> dict[str, Any]:
    """Difference and verdict of one row."""
    if not row["method"]:
        return {"difference": math.nan, "verdict": ""}
    if not comparable:
        return {"difference": math.nan, "verdict": NOT_COMPARABLE}
    if not math.isfinite(row["ours"]):
        return {"difference": math.nan, "verdict": NO_RUN}
    if math.isfinite(row["paper"]):
        difference = round(row["ours"] - row["paper"], 4)
        return {"difference": difference, "verdict": INSIDE if abs(difference) <= row["tolerance"] else OUTSIDE}
    return {"difference": math.nan, "verdict": INSIDE if row["low"] <= row["ours"] <= row["high"] else OUTSIDE}


def _unknown(study: StudyRuns) -> Iterator[dict[str, Any]]:
    """Our headline cells; the paper's side is left empty."""
    for row in scores.headline(scores.by_cell(study)).to_dict("records"):
        ours = {"our_metric": row["metric"], "ours": row["mean"], "ours_ci95": row["ci95"], "n": row["n"]}
        cell = {key: row[key] for key in ("gfm", "method", "dataset")}
        yield cell | ours | {"variant": "", "our_share": row["tuned_percent"], "verdict": ""}


def _printed(frame: pd.DataFrame, study: StudyRuns) -> PrintedTable:
    rows: list[str | list[Cell]] = []
    known = frame[frame.source.notna()]
    for source, group in known.groupby("source", sort=False):
        rows.append(str(source))
        rows += [[Cell(text) for text in _texts(row, study)] for row in group.to_dict("records")]
    notes = [
        "Paper and ours in %, difference in points; verdict: inside or outside the tolerance or the range.",
        "Known cells only; every other cell of the paper's tables is unknown and stays empty in comparison.csv.",
    ]
    if not study.comparable:
        why = "simulated data and small GFMs" if study.simulated else "GFMs without their published weights"
        notes.insert(0, f"Not comparable: {why}. Our numbers are shown to check the table alone.")
    header = ["Cell", "metric", "paper", "our metric", "ours", "difference", "tolerance", "verdict", "confidence"]
    return PrintedTable(f"Comparison with the paper, study {study.name}", header, rows, [*notes, *gap_notes(study)])


def _texts(row: dict[str, Any], study: StudyRuns) -> list[str]:
    """The cells of one printed row."""
    named = {key for key in ("paper", "ours", "difference", "tolerance") if math.isfinite(row[key])}
    decimals = 2 if row["our_metric"] == "tuned_percent" else 1
    cell = [study.title(row[key]) for key in ("method", "gfm", "dataset") if row[key]]
    our_metric = title(row["our_metric"].removeprefix("IoU:"))
    our_metric = f"IoU of {our_metric}" if row["our_metric"].startswith("IoU:") else our_metric
    return [
        ", ".join(cell if row["method"] else ["method unknown", *cell]),
        row["metric"],
        f"{row['paper']:g}" if "paper" in named else f"{row['low']:g}–{row['high']:g}",
        "share tuned" if row["our_metric"] == "tuned_percent" else our_metric,
        score(row["ours"], row["ours_ci95"], decimals) if "ours" in named else "",
        signed(row["difference"], decimals) if "difference" in named else "",
        f"{row['tolerance']:g}" if "tolerance" in named else "",
        row["verdict"],
        row["confidence"],
    ]


def verdict_counts(frame: pd.DataFrame) -> dict[str, int]:
    """How many known cells got each verdict."""
    counts = frame.loc[frame.source.notna() & (frame.verdict != ""), "verdict"].value_counts()
    return {str(verdict): int(count) for verdict, count in counts.items()}
