"""Runs outside the main grid: the ablation and the study of the patch embedding's initialisation.

A variant is compared with its own method of the main grid on equal datasets, GFMs and seeds, run by run.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from deflect.analysis.looks import ordered, title
from deflect.analysis.records import StudyRuns
from deflect.analysis.render import GAP, Cell, PrintedTable, Table, ranked, share, signed
from deflect.analysis.scores import COLUMNS, over_seeds, percent
from deflect.analysis.tables import gap_notes, seeds_note

#: The setting of the methods that says how the patch embedding's input channels for extra bands start.
INIT = "patch_init"
KEYS = ["dataset", "gfm", "seed"]
AVERAGE = "average"
ABLATION = ["study", "dataset", "method", "variant", "changes", "mean", "std", "ci95", "n"]
ABLATION += ["difference", "difference_ci95", "tuned_params", "tuned_percent"]
NOTHING = "No such runs in this study; `variants` in config.yaml asks for them."


def patch_embed(study: StudyRuns) -> Table:
    """Score by initialisation of the patch embedding: one row per dataset, GFM, method and initialisation."""
    runs = _with_changes(study)
    runs = runs[runs.change.map(lambda change: set(change) <= {INIT})]
    runs = runs.assign(init=[record["settings"]["method"].get(INIT) for record in runs.record]).dropna(subset=["init"])
    # Only where and with the seeds with which other initialisations ran: a mean over more seeds is another mean.
    runs = runs[runs.groupby([*KEYS, "method"]).init.transform("nunique") > 1]
    groups = runs.groupby(["dataset", "gfm", "method", "init"])
    found = [dict(zip(groups.keys, cell, strict=True)) | over_seeds(group)[0] for cell, group in groups]
    frame = pd.DataFrame(found, columns=[*COLUMNS[:4], "init", *COLUMNS[4:]])
    inits = sorted(set(frame.init))
    rows: list[str | list[Cell]] = []
    for method in ordered(frame.method):
        rows.append(title(method))
        for (dataset, gfm), cells in frame[frame.method == method].groupby(["dataset", "gfm"]):
            by_init = cells.set_index("init").reindex(inits)
            named = Cell(f"{study.title(dataset)}, {title(gfm)}")
            rows.append([named, *ranked(by_init["mean"], by_init["ci95"])])
    heading = f"Initialisation of the patch embedding for extra bands: test scores in % on {study.data}"
    notes = ["Best in bold, second underlined, in each row.", seeds_note(frame.n)] if rows else [NOTHING]
    return Table(frame, PrintedTable(heading, ["Dataset, GFM", *inits], rows, [*notes, *gap_notes(study)]))


def ablation(study: StudyRuns) -> Table:
    """Every variant of a method next to that method, per dataset and on average over datasets and GFMs.

    ``difference`` is variant minus method over equal runs, in percentage points, with its interval over seeds. A
    variant that lacks a run that another variant of the method has shows a gap, not an average over fewer runs.
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
    whole = by_seed if len(pairs) == len(keys) else by_seed.iloc[:0]
    difference = percent(whole.score - whole.base)
    settings = {f"{key}={value}" for change in own.change for key, value in change.items()}
    return {
        "method": own.method.iloc[0],
        "variant": variant,
        "changes": ", ".join(sorted(settings)),
        **percent(whole.score),
        "difference": difference["mean"] if variant else math.nan,
        "difference_ci95": difference["ci95"] if variant else math.nan,
        "tuned_params": round(pairs.tuned_params.mean()) if len(pairs) else math.nan,
        "tuned_percent": round(pairs.tuned_percent.mean(), 6),
    }


def _printed_ablation(frame: pd.DataFrame, study: StudyRuns) -> PrintedTable:
    datasets = [*ordered(set(frame.dataset) - {AVERAGE}), *([AVERAGE] if len(frame) else [])]
    rows: list[str | list[Cell]] = []
    for method in ordered(frame.method):
        mine = frame[frame.method == method]
        variants = ordered(mine.variant)
        by_dataset = [mine[mine.dataset == dataset].set_index("variant").loc[variants] for dataset in datasets]
        columns = [ranked(found["mean"], found["ci95"]) for found in by_dataset]
        overall = by_dataset[-1].to_dict("records")
        rows.append(title(method))
        for variant, row, *scores in zip(variants, overall, *columns, strict=True):
            named = Cell(variant or f"{title(method)}, main table")
            rows.append([named, Cell(share(row["tuned_percent"])), *scores, Cell(_difference(row) if variant else "")])
    gfms = ", ".join(map(title, ordered(study.runs[study.runs.variant != ""].gfm)))
    heading = f"Ablation: test scores in % with {gfms or 'no GFM'} on {study.data}"
    notes = ["Best in bold, second underlined.", seeds_note(frame.n), *_changes(frame)] if rows else [NOTHING]
    header = ["Variant", "share", *map(study.title, datasets), "difference"]
    return PrintedTable(heading, header, rows, [*notes, *gap_notes(study)])


def _difference(row: dict[str, Any]) -> str:
    if not math.isfinite(row["difference"]):
        return GAP
    interval = f" ± {row['difference_ci95']:.1f}" if math.isfinite(row["difference_ci95"]) else ""
    return signed(row["difference"]) + interval


def _changes(frame: pd.DataFrame) -> list[str]:
    """What each variant sets, in words, where its name does not say it."""
    named = frame[frame.variant != ""].drop_duplicates(["method", "variant"])
    return [f"{row.variant}: {row.changes}." for row in named.itertuples() if row.changes not in ("", row.variant)]


def _with_changes(study: StudyRuns) -> pd.DataFrame:
    """The runs with ``change``: the method settings in which each differs from its method in the main grid."""
    base = {(row.gfm, row.method): row.record["settings"]["method"] for row in study.main.itertuples()}

    def change(row: Any) -> dict[str, Any]:
        own, main = row.record["settings"]["method"], base.get((row.gfm, row.method), {})
        return {key: own.get(key) for key in own | main if own.get(key) != main.get(key)}

    return study.runs.assign(change=[change(row) for row in study.runs.itertuples()])
