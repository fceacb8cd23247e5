"""``deflect records``, ``notebook``, ``summary``, ``explore``, ``crate`` and ``report``: from records to results."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from deflect.config import DECISIONS, load, of_project
from deflect.errors import DeflectError
from deflect.files import read_json, write_json, write_text
from deflect.settings.study import Study
from deflect.workflow import CRATE_METADATA, PRESENT_RUNS, grid, segmentation_datasets, write_index

REFERENCES, CLAIMS = "references/paper.csv", "references/claims.yaml"


def records(args: Namespace) -> None:
    print(write_index(load(args.config, args.study).study))


def notebook(args: Namespace) -> None:
    study = load(args.config, args.study).study
    for name in args.notebooks:
        print(execute_notebook(study, name))


def execute_notebook(study: Study, name: str) -> Path:
    """Execute one notebook of ``notebooks/`` for the study; returns the executed notebook.

    Raises:
        ConfigError: no such notebook.
    """
    from deflect.analysis.notebook import execute, parameter_names

    source = of_project(f"notebooks/{name}.py")
    values = {
        "runs": str(study.results / "runs"),
        "grid": grid(study),
        "tables": str(study.results / "tables"),
        "figures": str(study.results / "figures"),
        "decisions": str(of_project(DECISIONS)),
        "references": str(of_project(REFERENCES)),
        "claims": str(of_project(CLAIMS)),
        "gfm": study.gfms[0],
        "prepared": f"data/prepared/{study.name}",
        "datasets": segmentation_datasets(study),
    }
    known = parameter_names(source)
    output = study.results / "notebooks" / f"{name}.ipynb"
    execute(source, output, {key: value for key, value in values.items() if key in known})
    return output


def summary(args: Namespace) -> None:
    """Write the two-minute page, and the numbers that ``dvc metrics`` lists and ``dvc plots`` draws."""
    from deflect.analysis.comparison import load_references
    from deflect.analysis.records import load_study
    from deflect.analysis.scores import averages
    from deflect.analysis.summary import summary as page
    from deflect.settings.claims import load_claims

    study = load(args.config, args.study).study
    runs = load_study(study.results / "runs", grid(study))
    output = study.results / "summary.html"
    found = {name: read_json(study.duplicates(name)) for name in study.datasets if study.duplicates(name).exists()}
    claims = load_claims(of_project(CLAIMS))
    write_text(output, page(runs, load_references(of_project(REFERENCES)), claims, duplicates=found))
    numbers = averages(runs).set_index("method")[["mean", "tuned_percent"]].dropna()
    numbers = numbers.map(lambda value: round(float(value), 4))  # so that equal studies give equal files
    write_json(study.results / "metrics.json", numbers.to_dict("index"))
    write_text(study.results / "averages.csv", numbers.to_csv(lineterminator="\n"))
    print(output)


def explore(args: Namespace) -> None:
    """Write the page on which every number leads to the records of its runs."""
    from deflect.analysis.explore.page import page
    from deflect.analysis.records import load_study

    study = load(args.config, args.study).study
    output = study.results / "explore.html"
    write_text(output, page(load_study(study.results / "runs", grid(study))))
    print(output)


def crate(args: Namespace) -> None:
    """Write the metadata that make the folder of the results an RO-Crate."""
    from deflect.analysis.records import load_study
    from deflect.crate import write_crate

    study = load(args.config, args.study).study
    runs = load_study(study.results / "runs", grid(study))
    print(write_crate(study, runs, args.config or Path("config.yaml")))


def report(args: Namespace) -> int:
    """Rebuild the tables, figures, report and crate of a study from the records that exist; trains nothing.

    Missing runs are gaps, named in the tables and on the summary page.

    Raises:
        DeflectError: there are no records yet.
    """
    study = load(args.config, args.study).study
    if not any(study.results.glob("runs/**/record.json")):
        raise DeflectError(f"{study.results}/runs: no finished runs; run `snakemake --cores all` first")
    command = [sys.executable, "-m", "snakemake", "-s", str(of_project("Snakefile")), "--cores", "1"]
    command += ["--config", f"study={study.name}"]
    command += ["--configfile", str(args.config)] if args.config else []
    command += ["--", "results", f"{study.results}/report.html", f"{study.results}/{CRATE_METADATA}"]
    return subprocess.run(command, env=os.environ | {PRESENT_RUNS: "1"}).returncode
