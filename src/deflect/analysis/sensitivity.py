"""What each decision of the reconstruction moves: its alternatives beside the study's own choice, run by run."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from deflect.analysis.bootstrap import holm
from deflect.analysis.looks import title
from deflect.analysis.paired import KEYS, Comparison, compare
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import Cell, PrintedTable, Row, Table, interval, score
from deflect.analysis.tables import gap_notes
from deflect.analysis.variants import NOTHING
from deflect.settings.decisions import Decision

COLUMNS = ["study", "decision", "alternative", "method", "cells", *Comparison._fields, "p_holm", "moves"]


def sensitivity(study: StudyRuns, decisions: Mapping[str, Decision], resamples: int = 2000) -> Table:
    """Decisions, the one that moves scores most first, with a row for each alternative and method.

    ``difference`` is alternative minus choice in points over the datasets, GFMs and seeds of both (`paired.compare`);
    ``moves`` is the largest absolute difference of the decision; ``p_holm`` is adjusted for all rows.
    """
    runs = study.runs[study.runs.part == "decisions"]
    rows = []
    for (method, variant), own in runs.groupby(["method", "variant"]):
        base = study.main[study.main.method == method]
        name, _, alternative = str(variant).partition("=")
        if name in decisions and len(own[KEYS].merge(base[KEYS])):
            cells = len(own[["dataset", "gfm"]].drop_duplicates())
            rows.append([study.name, name, alternative, method, cells, *compare(own, base, resamples)])
    frame = pd.DataFrame(rows, columns=COLUMNS[:-2])
    frame = frame.assign(
        p_holm=holm(frame.p.tolist()), moves=frame.difference.abs().groupby(frame.decision).transform("max")
    )
    frame = frame.sort_values(["moves", "decision", "method", "alternative"], ascending=[False, True, True, True])
    return Table(frame.reset_index(drop=True), _printed(frame, study, decisions, resamples))


def _printed(frame: pd.DataFrame, study: StudyRuns, decisions: Mapping[str, Decision], resamples: int) -> PrintedTable:
    rows: list[Row] = []
    for name, found in frame.groupby("decision", sort=False):
        decision = decisions[str(name)]
        rows.append(f"{decision.title}: {decision.choice.text}")
        for row in found.to_dict("records"):
            texts = [decision.alternatives[row["alternative"]].text, title(row["method"]), str(row["cells"])]
            texts += [interval(row["difference"], row["low"], row["high"])]
            texts += [f"{row['p_holm']:.3f}", score(row["detectable"])]
            rows.append([Cell(text) for text in texts])
    fixed = [f"{decision.title}: {decision.not_varied}" for decision in decisions.values() if decision.not_varied]
    notes = [
        "The title of a decision has the paper study's choice, its rows the alternatives; the one that moves most "
        "is first. A smaller study may choose in between: it has fewer epochs between validations, or larger batches.",
        "Difference: alternative minus the study's own run in points, averaged over the cells (dataset x GFM), with "
        f"the 95 % interval of {resamples:,} paired resamples of test images and, if there are several, seeds; p: "
        "two-sided, Holm-adjusted over all rows; detectable: the smallest difference found with a power of 80 %.",
        f"Not varied: {' '.join(fixed)}",
    ]
    header = ["Alternative", "method", "cells", "difference", "p", "detectable"]
    heading = f"Decisions of the reconstruction: points moved on {study.data}, study {study.name}"
    return PrintedTable(heading, header, rows, [*(notes if rows else [NOTHING]), *gap_notes(study)])
