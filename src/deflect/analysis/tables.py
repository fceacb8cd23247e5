"""The study's tables: tidy frames for the csv files and sheets to read, all from run records alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from deflect.analysis import scores
from deflect.analysis.names import ORACLE, ordered, title
from deflect.analysis.records import Study
from deflect.analysis.render import GAP, Cell, Sheet, marks, score, share, span, thousands

Table = tuple[pd.DataFrame, Sheet]
RANKED = f"Best in bold, second underlined, among all but {title(ORACLE).lower()} (the oracle)."


def main(study: Study) -> Table:
    """The main table: GFM x method x dataset, with averages and both parameter counts side by side."""
    frame = scores.main(study)
    tops = scores.headline(frame)
    datasets, gfms = ordered(frame.dataset), ordered(frame.gfm)
    by_gfm = scores.averages(study, ["gfm"])
    rows: list[str | list[Cell]] = []
    for gfm in gfms:
        rows += [title(gfm), *_block(tops[tops.gfm == gfm], by_gfm[by_gfm.gfm == gfm], datasets)]
    average = overview(study)
    if len(gfms) > 1:
        rows += ["Average over GFMs", *average.rows]
    return frame, Sheet(f"Test scores in % on {study.data}, study {study.name}", average.header, rows, average.notes)


def overview(study: Study) -> Sheet:
    """The last section of the main table: every method's average over GFMs, per dataset and over all of them."""
    table = scores.averages(study, ["dataset"])
    datasets = ordered(table.dataset)
    metrics = dict(zip(study.main.dataset, study.main.metric, strict=True))
    columns = [f"{study.title(dataset)} {title(metrics.get(dataset, ''))}".strip() for dataset in datasets]
    header = ["Method", "tuned (k)", "share", "head (k)", *columns, "average"]
    notes = [RANKED, seeds_note(table.n), PARAMETER_NOTE, *gap_notes(study)]
    rows: list[str | list[Cell]] = [*_block(table, scores.averages(study), datasets)]
    return Sheet(f"Average over GFMs: test scores in % on {study.data}, study {study.name}", header, rows, notes)


PARAMETER_NOTE = (
    "tuned: trained parameters of the adapted GFM in thousands, and their share of the frozen GFM's parameters; "
    "head: trained parameters of the classification head or decoder, never part of the share."
)


def _block(cells: pd.DataFrame, average: pd.DataFrame, datasets: Sequence[str]) -> list[list[Cell]]:
    """Rows of one section: a method each, a column per dataset and the average."""
    methods = ordered(cells.method)
    columns = [score_column(cells[cells.dataset == d], methods) for d in datasets]
    columns.append(score_column(average, methods))
    parameters = [_parameters(cells[cells.method == m]) for m in methods]
    return [
        [Cell(title(method)), *parameters[i], *(column[i] for column in columns)] for i, method in enumerate(methods)
    ]


def score_column(cells: pd.DataFrame, methods: Sequence[str]) -> list[Cell]:
    """Marked scores of ``methods`` in one column; the oracle is shown but not ranked."""
    by_method = cells.set_index("method").reindex(methods)
    texts = [score(mean, ci95) for mean, ci95 in zip(by_method["mean"], by_method["ci95"], strict=True)]
    ranked = [math.nan if m == ORACLE else v for m, v in zip(methods, by_method["mean"], strict=True)]
    return [Cell(text, mark) for text, mark in zip(texts, marks(ranked), strict=True)]


def _parameters(cells: pd.DataFrame) -> list[Cell]:
    """Tuned parameters, their share and head parameters, as ranges where datasets differ."""
    formats: dict[str, Callable[[float], str]] = {
        "tuned_params": thousands,
        "tuned_percent": share,
        "head_params": thousands,
    }
    return [Cell(span(form(value) for value in sorted(cells[key].dropna()))) for key, form in formats.items()]


def seeds_note(n: pd.Series) -> str:
    """How many seeds stand behind the scores, and what the ± is."""
    present = sorted(set(n) - {0})
    if not present or present == [1]:
        return "One seed per cell, so no interval over seeds."
    seeds = f"{present[0]} to {present[-1]}" if len(present) > 1 else f"{present[0]}"
    return f"Mean ± half width of the 95 % t-interval over {seeds} seeds."


def gap_notes(study: Study) -> list[str]:
    """What is missing or left out; nothing when the study is whole."""
    notes = []
    if study.missing:
        named = ", ".join(study.missing[:6]) + (" ..." if len(study.missing) > 6 else "")
        notes.append(f"{GAP}: {len(study.missing)} of the grid's runs are missing or left out: {named}.")
    if len(study.stale):
        reasons = "; ".join(f"{run}: {reason}" for run, reason in study.stale.head(4).itertuples(index=False))
        notes.append(f"{len(study.stale)} stale runs left out ({reasons}{'; ...' if len(study.stale) > 4 else ''}).")
    return notes
