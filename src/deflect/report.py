"""From the run records of a study to its notebooks, tables, figures, summary and HTML report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from deflect.config import of_project
from deflect.errors import DeflectError
from deflect.files import atomic_path, write_json
from deflect.settings.study import Config, Study
from deflect.workflow import PRESENT_RUNS, grid, segmentation_datasets

REFERENCES = "references/paper.csv"


def notebook(config: Config, name: str) -> Path:
    """Execute one notebook of ``notebooks/`` for the study; returns the executed notebook.

    Raises:
        ConfigError: no such notebook.
    """
    from deflect.analysis.notebook import execute, parameter_names

    study, source = config.study, of_project(f"notebooks/{name}.py")
    values = {
        "runs": str(study.results / "runs"),
        "grid": grid(study),
        "tables": str(study.results / "tables"),
        "figures": str(study.results / "figures"),
        "references": str(of_project(REFERENCES)),
        "gfm": study.gfms[0],
        "prepared": f"data/prepared/{study.name}",
        "datasets": segmentation_datasets(study),
    }
    known = parameter_names(source)
    output = study.results / "notebooks" / f"{name}.ipynb"
    execute(source, output, {key: value for key, value in values.items() if key in known})
    return output


def summary(config: Config) -> Path:
    """Write the two-minute page, and the numbers that ``dvc metrics`` lists and ``dvc plots`` draws."""
    import pandas as pd

    from deflect.analysis.comparison import load_references
    from deflect.analysis.records import load_study
    from deflect.analysis.scores import averages
    from deflect.analysis.summary import summary as page

    runs = load_study(config.study.results / "runs", grid(config.study))
    output = config.study.results / "summary.html"
    with atomic_path(output) as aside:
        aside.write_text(page(runs, load_references(of_project(REFERENCES))), encoding="utf-8")
    numbers = metrics(averages(runs))
    write_json(config.study.results / "metrics.json", numbers)
    with atomic_path(config.study.results / "averages.csv") as aside:
        pd.DataFrame.from_dict(numbers, orient="index").rename_axis("method").to_csv(aside)
    return output


def metrics(averages: Any) -> dict[str, dict[str, float]]:
    """Average score and share tuned by method, rounded so that equal studies give equal files."""
    rows = averages.set_index("method")[["mean", "tuned_percent"]].dropna()
    return {str(method): {key: round(float(value), 4) for key, value in row.items()} for method, row in rows.iterrows()}


def report(study: Study, config: Path | None = None) -> int:
    """Rebuild the tables, figures and report of a study from the records that are there; trains nothing.

    Runs that are missing are gaps, named in the tables and on the summary page. ``config`` is the file that the study
    was read from, if it is not config.yaml.

    Raises:
        DeflectError: there are no records yet.
    """
    if not any(study.results.glob("runs/**/record.json")):
        raise DeflectError(f"{study.results}/runs: no finished runs; run `snakemake --cores all` first")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(of_project("Snakefile")),
        "--cores",
        "1",
        "--config",
        f"study={study.name}",
    ]
    command += ["--configfile", str(config)] if config else []
    command += ["--", "results", f"{study.results}/report.html"]
    return subprocess.run(command, env=os.environ | {PRESENT_RUNS: "1"}).returncode
