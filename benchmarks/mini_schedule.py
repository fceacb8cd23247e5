"""Chooses the learning rates of the mini study, by validation scores alone: `python benchmarks/mini_schedule.py`.

Every method of the study is trained on every dataset with each rate, on the first GFM and seed; the test split is never
read. Per task, the rate with the highest mean validation score over methods and datasets is best. Epochs are not
chosen by scores: they are what fits into the minutes that the study may take.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd

from deflect.analysis.render import pipe_table
from deflect.config import load
from deflect.data.store import Store
from deflect.errors import ModelError
from deflect.training.grid import grid
from deflect.training.run import validate

RATES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)


def scores(folder: Path) -> pd.DataFrame:
    """Validation score of every method, dataset and rate; NaN where training diverged."""
    config = load(study="mini")
    chosen = {"gfm": config.study.gfms[:1], "method": config.study.methods, "seed": config.study.seeds[:1]}
    rows = []
    for spec in grid(config, {"dataset": None} | chosen, device="cpu", threads=1):
        for rate in RATES:
            training = spec.training.model_copy(update={"lr": rate})
            try:
                value, _ = validate(replace(spec, training=training, out=folder / spec.slug / str(rate)))
            except ModelError:
                value = float("nan")
            rows.append([Store(spec.store).card.task, spec.dataset, spec.method, rate, value])
    return pd.DataFrame(rows, columns=["task", "dataset", "method", "rate", "val"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        found = scores(Path(name))
    means = 100 * found.groupby(["task", "rate"]).val.agg(lambda values: values.fillna(0).mean()).unstack()
    best = (100 * found.groupby(["task", "method", "rate"]).val.mean().unstack()).idxmax(axis=1).unstack(0)
    print(
        pipe_table(
            ["mean validation score in %", *means.columns], [[task, *row.round(1)] for task, row in means.iterrows()]
        )
    )
    print(pipe_table(["best rate of", *best.columns], [[method, *row] for method, row in best.iterrows()]))
