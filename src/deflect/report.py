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
from deflect.settings import DATASETS
from deflect.settings.study import Config, Study

#: Each notebook with its outputs: what it writes into tables/ (csv, md, tex) and into figures/ (png, pdf).
NOTEBOOKS: dict[str, dict[str, list[str]]] = {
    "tables": {"tables": ["main", "ranks", "comparison"], "figures": []},
    "ablation": {"tables": ["ablation", "patch_embed"], "figures": []},
    "parameter_efficiency": {"tables": [], "figures": ["parameter_efficiency"]},
    "panels": {
        "tables": [],
        "figures": ["parameter_efficiency_per_gfm", "parameter_efficiency_per_dataset", "cost"],
    },
    "qualitative": {"tables": [], "figures": ["training_curves", "confusion_matrices"]},
    "inside_deflect": {"tables": [], "figures": ["inside_deflect", "inside_deflect_classes", "index_importance"]},
}
REFERENCES = "references/paper.csv"
#: Variable of the environment: set, the workflow reports on the runs that are there and asks for no others.
PRESENT_RUNS = "DEFLECT_PRESENT_RUNS"
#: The rules that read run records and nothing else.
REPORT_RULES = (*(f"notebook_{name}" for name in NOTEBOOKS), "summary", "report", "results")


def grid(study: Study) -> dict[str, Any]:
    """The runs that a study should have, so that a missing one shows as a gap, and the titles of own datasets."""
    variants = study.variants
    names = {"names": list(variants.settings), "datasets": list(variants.datasets), "gfms": list(variants.gfms)}
    main: dict[str, Any] = {key: list(getattr(study, key)) for key in ("datasets", "gfms", "methods", "seeds")}
    main |= {"variants": names | {"seeds": list(variants.seeds or study.seeds)}} if variants.settings else {}
    titles = {name: sheet.title for name, sheet in _own(study).items() if sheet.title != name}
    return main | ({"titles": titles} if titles else {})


def segmentation_datasets(study: Study) -> list[str]:
    """The study's segmentation datasets, of which maps are shown; of a user's own dataset the card says its task.

    In a report of the runs so far, those without a store are left out: one refused dataset must not keep the tables of
    the others away.

    Raises:
        DeflectError: a card is not as docs/your_own_dataset.md describes it.
    """
    tasks = {name: sheet.task for name, sheet in _own(study).items()}
    published = ("burn_scars", "mados")
    found = [name for name in study.datasets if tasks.get(name) == "segmentation" or name in published]
    if os.environ.get(PRESENT_RUNS):
        found = [name for name in found if (study.prepared(name) / "store.json").exists()]
    return found


def _own(study: Study) -> dict[str, Any]:
    """The data sheets of a study's datasets that are a user's own."""
    names = [name for name in study.datasets if name not in DATASETS]
    if names:
        from deflect.data.readers.own_data_card import sheet_of  # only now: the Snakefile starts faster without

        return {name: sheet_of(name, study.raw(name)) for name in names}
    return {}


def notebook(config: Config, name: str) -> Path:
    """Execute one notebook of ``notebooks/`` for the study; returns the executed notebook.

    Raises:
        DeflectError: no such notebook.
    """
    from deflect.analysis.notebook import execute

    study = config.study
    if name not in NOTEBOOKS:
        raise DeflectError(f"unknown notebook {name!r}; there are {', '.join(NOTEBOOKS)}")
    parameters: dict[str, Any] = {"runs": str(study.results / "runs"), "grid": grid(study)}
    for kind in ("tables", "figures"):
        if NOTEBOOKS[name][kind]:
            parameters[kind] = str(study.results / kind)
    if name == "tables":
        parameters["references"] = str(of_project(REFERENCES))
    if name in ("qualitative", "inside_deflect"):
        parameters["gfm"] = study.gfms[0]
    if name == "qualitative":
        parameters |= {"prepared": f"data/prepared/{study.name}", "datasets": segmentation_datasets(study)}
    output = study.results / "notebooks" / f"{name}.ipynb"
    execute(of_project(f"notebooks/{name}.py"), output, parameters)
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
    command += ["--allowed-rules", *REPORT_RULES, "--", "results", f"{study.results}/report.html"]
    return subprocess.run(command, env=os.environ | {PRESENT_RUNS: "1"}).returncode
