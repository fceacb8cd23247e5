"""Runs outside the main grid: the ablation and the initialisations of the patch embedding.

A variant is compared with its method of the main grid on the same datasets, GFMs and seeds, run by run.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from deflect.analysis.looks import ordered, title
from deflect.analysis.paired import KEYS
from deflect.analysis.records import CELL, StudyRuns
from deflect.analysis.render import Cell, PrintedTable, Row, Table, ranked, score, share
from deflect.analysis.scores import COLUMNS, over_seeds, percent
from deflect.analysis.tables import AVERAGE, gap_notes, seeds_note

#: The method setting for the initial values of the patch embedding's channels for extra bands.
INIT = "patch_init"
ABLATION = ["study", "dataset", "method", "variant", "changes", "mean", "std", "ci95", "n"]
ABLATION += ["difference", "difference_ci95", "tuned_params", "tuned_percent"]
NOTHING = "No such runs in this study; `variants` in config.yaml asks for them."


def patch_embed(study: StudyRuns) -> Table:
    """Score by initialisation of the patch embedding: one row per dataset, GFM, method and initialisation."""
    runs = _with_changes(study)
    runs = runs[runs.change.map(lambda change: set(change) <= {INIT})]
    runs = runs.assign(init=[record["settings"]["method"].get(INIT) for record in runs.record]).dropna(subset=["init"])
    # Only datasets, GFMs and seeds with which several initialisations ran; means over different seeds do not compare.
    runs = runs[runs.groupby([*KEYS, "method"]).init.transform("nunique") > 1]
    keys = [*CELL, "init"]
    found = [dict(zip(keys, key, strict=True)) | over_seeds(group)[0] for key, group in runs.groupby(keys)]
    frame = pd.DataFrame(found, columns=["study", *keys, *COLUMNS[4:]])
    inits = sorted(set(frame.init))
    rows: list[Row] = []
    for method in ordered(frame.method):
        rows.append(title(method))
        for (dataset, gfm), cells in frame[frame.method == method].groupby(["dataset", "gfm"]):
            by_init = cells.set_index("init").reindex(inits)
            named = Cell(f"{study.title(dataset)}, {study.title(gfm)}")
            rows.append([named, *ranked(by_init["mean"], by_init["ci95"])])
    heading = f"Initialisation of the patch embedding for extra bands: test scores in % on {study.data}"
    notes = ["Best in bold, second underlined, in each row.", seeds_note(frame.n)] if rows else [NOTHING]
    return Table(frame, PrintedTable(heading, ["Dataset, GFM", *inits], rows, [*notes, *gap_notes(study)]))


def ablation(study: StudyRuns) -> Table:
    """Every variant of a method next to that method, per dataset and on average over datasets and GFMs.

    ``difference`` is variant minus method over the same runs, in percentage points, with its interval over seeds. A
    variant without a run that another variant of the method has shows a gap, not an average over fewer runs.
    """
    runs = _with_changes(study)
    runs = runs[(runs.variant == "") | runs.change.map(lambda change: set(change) != {INIT})]
    rows = []
    for method in ordered(runs[runs.variant != ""].method):
        mine = runs[runs.method == method]
        keys = mine[mine.variant != ""][KEYS].drop_duplicates()
        for dataset in [*ordered(keys.dataset), AVERAGE]:
            part = keys if dataset == AVERAGE else keys[keys.dataset == dataset]
            for variant in ordered(mine.variant):
                rows.append({"study": study.name, "dataset": dataset, **_compare(mine, variant, part)})
    frame = pd.DataFrame(rows, columns=ABLATION)
    return Table(frame, _printed_ablation(frame, study))


def _compare(runs: pd.DataFrame, variant: str, keys: pd.DataFrame) -> dict[str, Any]:
    """Average and difference from the method's main runs over the runs ``keys`` of one variant."""
    own = runs[runs.variant == variant]
    base = runs[runs.variant == ""][[*KEYS, "score"]].rename(columns={"score": "base"})
    pairs = keys.merge(own, on=KEYS).merge(base, on=KEYS, how="left")
    by_seed = pairs.groupby("seed")[["score", "base"]].agg(lambda values: values.mean(skipna=False))
    paired = by_seed if len(pairs) == len(keys) else by_seed.iloc[:0]
    difference = percent(paired.score - paired.base if variant else [])
    settings = {f"{key}={value}" for change in own.change for key, value in change.items()}
    return {
        "method": own.method.iloc[0],
        "variant": variant,
        "changes": ", ".join(sorted(settings)),
        **percent(paired.score),
        "difference": difference["mean"],
        "difference_ci95": difference["ci95"],
        "tuned_params": round(pairs.tuned_params.mean()) if len(pairs) else math.nan,
        "tuned_percent": round(pairs.tuned_percent.mean(), 6),
    }


def _printed_ablation(frame: pd.DataFrame, study: StudyRuns) -> PrintedTable:
    datasets = [*ordered(set(frame.dataset) - {AVERAGE}), *([AVERAGE] if len(frame) else [])]
    rows: list[Row] = []
    for method in ordered(frame.method):
        mine = frame[frame.method == method]
        variants = ordered(mine.variant)
        by_dataset = [mine[mine.dataset == dataset].set_index("variant").loc[variants] for dataset in datasets]
        columns = [ranked(found["mean"], found["ci95"]) for found in by_dataset]
        overall = by_dataset[-1].to_dict("records")
        rows.append(title(method))
        for variant, row, *scores in zip(variants, overall, *columns, strict=True):
            named = Cell(variant or f"{title(method)}, main table")
            difference = score(row["difference"], row["difference_ci95"], sign="+") if variant else ""
            rows.append([named, Cell(share(row["tuned_percent"])), *scores, Cell(difference)])
    gfms = ", ".join(map(study.title, ordered(study.runs[study.runs.part == "ablation"].gfm)))
    heading = f"Ablation: test scores in % with {gfms or 'no GFM'} on {study.data}"
    named = frame[(frame.changes != "") & (frame.changes != frame.variant)].drop_duplicates(["method", "variant"])
    changes = [f"{row.variant}: {row.changes}." for row in named.itertuples()]
    notes = ["Best in bold, second underlined.", seeds_note(frame.n), *changes] if rows else [NOTHING]
    header = ["Variant", "share", *map(study.title, datasets), "difference"]
    return PrintedTable(heading, header, rows, [*notes, *gap_notes(study)])


def _with_changes(study: StudyRuns) -> pd.DataFrame:
    """The runs with a column ``change``: the settings in which each differs from its method in the main grid."""
    main = {(row.gfm, row.method): row.record["settings"]["method"] for row in study.main.itertuples()}
    runs = study.runs[study.runs.part.isin(["main", "ablation"])]
    changes = []
    for row in runs.itertuples():
        own, base = row.record["settings"]["method"], main.get((row.gfm, row.method), {})
        changes.append({key: own.get(key) for key in own | base if own.get(key) != base.get(key)})
    return runs.assign(change=changes)
