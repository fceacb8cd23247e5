"""The main table, and the notes that tables share."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from deflect.analysis import scores
from deflect.analysis.looks import ORACLE, ordered, title
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import GAP, Cell, PrintedTable, Row, Table, ranked, share, span, thousands

RANKED = f"Best in bold, second underlined, among all but {title(ORACLE).lower()} (the oracle)."
PARAMETER_NOTE = (
    "tuned: trained parameters of the adapted GFM in thousands, and their share of the frozen GFM's parameters; "
    "head: trained parameters of the classification head or decoder, never part of the share."
)
R2_NOTE = (
    "R²: the share of the variance of the target that is explained, below 0 if the mean of the test labels would be "
    "nearer; it is averaged over datasets in percent as the other scores are."
)
#: Stands for the dataset in rows that average over all of them.
AVERAGE = "average"
#: Columns of parameters in the printed table, and how they are formatted.
PARAMETERS = {"tuned_params": thousands, "tuned_percent": share, "head_params": thousands}


def main(study: StudyRuns) -> Table:
    """The main table: GFM x method x dataset, with averages and the parameters of adapter and head."""
    frame = scores.by_cell(study)
    tops = scores.headline(frame)
    datasets, gfms = ordered(frame.dataset), ordered(frame.gfm)
    by_gfm = scores.averages(study, ["gfm"])
    rows: list[Row] = []
    for gfm in gfms:
        rows += [study.title(gfm), *_block(tops[tops.gfm == gfm], by_gfm[by_gfm.gfm == gfm], datasets, gfm)]
    average = overview(study)
    if len(gfms) > 1:
        rows += ["Average over GFMs", *average.rows]
    heading = f"Test scores in % on {study.data}, study {study.name}"
    return Table(frame, PrintedTable(heading, average.header, rows, average.notes))


def overview(study: StudyRuns) -> PrintedTable:
    """The last section of the main table: every method's average over GFMs, per dataset and over all of them."""
    table = scores.averages(study, ["dataset"])
    datasets = ordered(table.dataset)
    columns = [f"{study.title(dataset)} {title(study.metrics.get(dataset, ''))}".strip() for dataset in datasets]
    header = ["Method", "tuned (k)", "share", "head (k)", *columns, "average"]
    notes = [RANKED, seeds_note(table.n), PARAMETER_NOTE, *r2_note(study), *gap_notes(study)]
    heading = f"Average over GFMs: test scores in % on {study.data}, study {study.name}"
    return PrintedTable(heading, header, _block(table, scores.averages(study), datasets), notes)


def _block(cells: pd.DataFrame, average: pd.DataFrame, datasets: Sequence[str], gfm: str = "*") -> list[Row]:
    """Rows of one section, one per method: its parameters, a column per dataset and the average.

    ``gfm``: the one whose scores these are, ``*`` for the average over all.
    """
    methods = ordered(cells.method)
    columns = [[Cell(title(method)) for method in methods]]
    for key, form in PARAMETERS.items():  # as a range where datasets differ
        counts = (cells[cells.method == method][key] for method in methods)
        columns.append([Cell(span(map(form, sorted(found.dropna())))) for found in counts])
    for dataset in [*datasets, "*"]:
        part = average if dataset == "*" else cells[cells.dataset == dataset]
        found = part.set_index("method").reindex(methods)
        # the oracle is shown but not ranked
        shown = ranked(found["mean"], found["ci95"], [method == ORACLE for method in methods])
        runs = [f"{dataset}/{gfm}/{method}" for method in methods]
        columns.append(
            [cell if cell.text == GAP else cell._replace(runs=run) for cell, run in zip(shown, runs, strict=True)]
        )
    return [list(row) for row in zip(*columns, strict=True)]


def seeds_note(n: pd.Series) -> str:
    """The number of seeds behind the scores, and the meaning of ±."""
    present = sorted(set(n) - {0})
    if not present or present == [1]:
        return "One seed per cell, so no interval over seeds."
    seeds = f"{present[0]} to {present[-1]}" if len(present) > 1 else f"{present[0]}"
    return f"Mean ± half width of the 95 % t-interval over {seeds} seeds."


def r2_note(study: StudyRuns) -> list[str]:
    """What R2 is, where a dataset has it."""
    return [R2_NOTE] if "R2" in study.metrics.values() else []


def gap_notes(study: StudyRuns) -> list[str]:
    """What is missing or left out; empty for a complete study."""
    notes = []
    if study.missing:
        named = ", ".join(study.missing[:6]) + (" ..." if len(study.missing) > 6 else "")
        notes.append(f"{GAP}: {len(study.missing)} of the grid's runs are missing or left out: {named}.")
    if len(study.stale):
        reasons = "; ".join(f"{run}: {reason}" for run, reason in study.stale.head(4).itertuples(index=False))
        notes.append(f"{len(study.stale)} stale runs left out ({reasons}{'; ...' if len(study.stale) > 4 else ''}).")
    return notes
