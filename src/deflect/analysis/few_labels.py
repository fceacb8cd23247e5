"""Scores by number of labelled training images: runs with few labels next to the main grid's with all of them."""

from __future__ import annotations

import pandas as pd

from deflect.analysis.looks import ORACLE, ordered, title
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import Cell, PrintedTable, Row, Table, ranked, share
from deflect.analysis.scores import percent
from deflect.analysis.tables import RANKED, gap_notes, seeds_note

COLUMNS = ["study", "dataset", "method", "metric", "fraction", "labelled", "mean", "std", "ci95", "n"]
NOTHING = "No such runs in this study; `label_fractions` in config.yaml asks for them."
PROTOCOL = (
    "Averages over GFMs. Every fraction is trained for the same number of steps and tested on all test images; all "
    "methods and seeds have the same labelled images, so the intervals leave out the choice of images."
)


def by_fraction(study: StudyRuns) -> pd.DataFrame:
    """One row per dataset, method and fraction of the labels, averaged over GFMs; scores in percent.

    The interval is over the ``n`` seeds that every GFM has. A method that lacks a GFM has a gap (n = 0).
    """
    few = study.runs[study.runs.part == "labels"]
    whole = study.main.merge(few[["dataset", "gfm", "seed"]].drop_duplicates())
    runs = pd.concat([few, whole[whole.method.isin(few.method)]], ignore_index=True)
    runs["fraction"] = [record["settings"]["training"].get("label_fraction", 1.0) for record in runs.record]
    rows = []
    for dataset in ordered(few.dataset):
        here = runs[runs.dataset == dataset]
        for method in ordered(here.method):
            for fraction, all_methods in here.groupby("fraction"):
                mine = all_methods[all_methods.method == method]
                scores = mine.pivot(index="gfm", columns="seed", values="score").reindex(here.gfm.unique())
                labelled = all_methods.record.iloc[0]["data"]["labelled"]
                names = [study.name, dataset, method, study.metrics[dataset], fraction, labelled]
                rows.append(dict(zip(COLUMNS, names, strict=False)) | percent(scores.dropna(axis=1).mean()))
    return pd.DataFrame(rows, columns=COLUMNS)


def few_labels(study: StudyRuns) -> Table:
    """Method x fraction of the labels, per dataset."""
    frame = by_fraction(study)
    fractions = sorted(set(frame.fraction))
    rows: list[Row] = []
    for dataset in ordered(frame.dataset):
        here = frame[frame.dataset == dataset]
        methods, images = ordered(here.method), here.groupby("fraction").labelled.first()
        counts = ", ".join(f"{images[fraction]:,}" for fraction in images.index)
        rows.append(f"{study.title(dataset)}, {title(study.metrics[dataset])}: {counts} labelled images")
        columns = [[Cell(title(method)) for method in methods]]
        for fraction in fractions:
            found = here[here.fraction == fraction].set_index("method").reindex(methods)
            columns.append(ranked(found["mean"], found["ci95"], [method == ORACLE for method in methods]))
        rows += [list(row) for row in zip(*columns, strict=True)]
    heading = f"Test scores in % by share of the training labels, on {study.data}"
    notes = [RANKED, seeds_note(frame.n), PROTOCOL] if rows else [NOTHING]
    header = ["Method", *(share(100 * fraction) for fraction in fractions)]
    return Table(frame, PrintedTable(heading, header, rows, [*notes, *gap_notes(study)]))
