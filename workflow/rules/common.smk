# What all other files here share. It holds the checked configuration, wildcards, and what each stage reads and writes.
import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import contains_wildcard
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from deflect.cli import WARNING
from deflect.config import SHELL_PREFIX, hand_down
from deflect.config import read as read_config
from deflect.config import parse as parse_config
from deflect.data.manifest import files_below
from deflect.errors import DeflectError
from deflect.files import sha256_json
from deflect.places import make_usable
from deflect.report import NOTEBOOKS, PRESENT_RUNS, grid, segmentation_datasets
from deflect.settings import DATASETS

try:
    # Snakemake keeps the last of a key given twice, deflect refuses it.
    for file in workflow.configfiles:
        if str(file).endswith((".yaml", ".yml")) and Path(file).is_file():
            read_config(Path(file))
    CONFIG = parse_config(config)
    SEGMENTATION = segmentation_datasets(CONFIG.study)
except DeflectError as error:
    raise WorkflowError(str(error)) from None

STUDY = CONFIG.study

# What the commands started below would miss on this machine.
for line in make_usable():
    print(f"deflect: {line}", file=sys.stderr)

USES_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
hand_down(config, Path(workflow.basedir) / "src", USES_CONDA)
shell.prefix(SHELL_PREFIX)

VARIANTS = list(STUDY.variants.settings)


def one_of(names):
    """A wildcard pattern that matches these names and nothing else."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    dataset=one_of(STUDY.datasets),
    gfm=one_of(STUDY.gfms),
    method=one_of([*STUDY.methods, *VARIANTS]),
    seed=r"\d+",
    split="train|val|test",


def of_project(path):
    """A file of the project, as seen from the working directory, which may be another folder."""
    return os.path.relpath(Path(workflow.basedir) / path)


def source(*patterns):
    """Source files of a stage as inputs: a change in one of them, and only that, makes the stage run again."""
    root = Path(workflow.basedir)
    names = ["bands.py", "files.py", "errors.py", *patterns]
    files = {path for name in names for path in (root / "src/deflect").glob(name)}
    return sorted(os.path.relpath(path) for path in files)


def raw_files(wildcards):
    """What must be there before a dataset is prepared: a stamp, or every file of a user's own dataset."""
    folder = STUDY.raw(wildcards.dataset)
    if wildcards.dataset not in DATASETS:
        return [path for path in map(str, files_below(folder)) if can_be_input(path)]
    return (
        [f"{folder}/SIMULATED.json", f"{folder}.finished"]
        if STUDY.simulated
        else f"data/raw/archives/{wildcards.dataset}.fetched"
    )


def can_be_input(path):
    """Whether Snakemake can take a file for an input. {name} in a path is a wildcard to it and cannot be escaped."""
    return not contains_wildcard(path) and path.isprintable()


def state(wildcards):
    """Names, sizes and times of a user's own files: of a file replaced by an older one, and of one that is no input."""
    if wildcards.dataset in DATASETS:
        return ""
    facts = [
        (path, os.stat(path)) for path in files_below(STUDY.raw(wildcards.dataset))
    ]
    return sha256_json(
        [(str(path), fact.st_size, fact.st_mtime_ns) for path, fact in facts]
    )


# Runs
RUNS = f"{STUDY.results}/runs/{{dataset}}/{{gfm}}/{{method}}/seed{{seed}}/record.json"
STORE = f"data/prepared/{STUDY.name}/{{dataset}}/store.json"
# Written behind the weights, with their hash.
GFM_CARD = f"weights/{STUDY.name}/{{gfm}}.json"
TRAINING = source(
    "data/card.py",
    "data/store.py",
    "settings/__init__.py",
    "settings/fields.py",
    "settings/methods.py",
    "settings/training.py",
    "spectral/*.py",
    "gfms/*.*",
    "methods/*.py",
    "methods/deflect/*.py",
    "heads/*.py",
    "training/*.py",
)


def settings(name):
    """What the runs of a method or variant depend on in config.yaml; a change there reruns that one alone."""
    method = CONFIG.method(name)
    return [method.method, method.settings, STUDY.training, STUDY.gfm_size]


def variants_of(method):
    """The variants of one method."""
    return [name for name in VARIANTS if CONFIG.method(name).method == method]


def variant_records(names):
    part = STUDY.variants
    return expand(
        RUNS,
        dataset=part.datasets,
        gfm=part.gfms,
        method=names,
        seed=part.seeds or STUDY.seeds,
    )


def stores(datasets):
    return expand(STORE, dataset=datasets)


MAIN_RECORDS = expand(
    RUNS, dataset=STUDY.datasets, gfm=STUDY.gfms, method=STUDY.methods, seed=STUDY.seeds
)
VARIANT_RECORDS = variant_records(VARIANTS)
# What a job leaves when its run, or with `share_process` all its runs, have finished.
RUN_STAMP = str(Path(RUNS).with_name("finished"))
STAMP = f"{STUDY.results}/runs/{{method}}.finished"
JOBS = [
    *STUDY.methods,
    *(f"{name}_variants" for name in STUDY.methods if variants_of(name)),
]
if STUDY.share_process:
    STAMPS = expand(STAMP, method=JOBS)
else:
    STAMPS = [
        str(Path(record).with_name("finished"))
        for record in MAIN_RECORDS + VARIANT_RECORDS
    ]

# `deflect report` shows the runs that are there; the tables and figures name the others. Without it, all are trained.
if os.environ.get(PRESENT_RUNS):
    MAIN_RECORDS, VARIANT_RECORDS, STAMPS = (
        list(filter(os.path.exists, paths))
        for paths in (MAIN_RECORDS, VARIANT_RECORDS, STAMPS)
    )


# Results
TABLES = {name: outputs["tables"] for name, outputs in NOTEBOOKS.items()}
FIGURES = {name: list(outputs["figures"]) for name, outputs in NOTEBOOKS.items()}
FIGURES["qualitative"] += [f"segmentation_maps_{dataset}" for dataset in SEGMENTATION]
RESULTS = [
    *expand(f"{STUDY.results}/notebooks/{{name}}.ipynb", name=NOTEBOOKS),
    *expand(
        f"{STUDY.results}/tables/{{name}}.{{kind}}",
        name=sum(TABLES.values(), []),
        kind=("csv", "md", "tex"),
    ),
    *expand(
        f"{STUDY.results}/figures/{{name}}.{{kind}}",
        name=sum(FIGURES.values(), []),
        kind=("png", "pdf"),
    ),
    f"{STUDY.results}/summary.html",
]
ANALYSIS = source(
    "config.py",
    "report.py",
    "record.py",
    "composite.py",
    "settings/__init__.py",
    "settings/study.py",
    "analysis/*.*",
    "analysis/figures/*.py",
)


def shown(kind, name, ending, category):
    """An output that appears in the HTML report with a caption of its own."""
    caption = f"../report/{name.split('_maps_')[0]}.rst"
    labels = {"name": name.replace("_", " "), "format": ending}
    return report(
        f"{STUDY.results}/{kind}/{name}.{ending}",
        caption=caption,
        category=category,
        labels=labels,
    )


def outputs_of(notebook):
    """What a notebook writes: the pictures and LaTeX-free tables go into the report, the rest lies beside them."""
    figures, tables = FIGURES[notebook], TABLES[notebook]
    return {
        "notebook": f"{STUDY.results}/notebooks/{notebook}.ipynb",
        "shown": [shown("figures", name, "png", "Figures") for name in figures]
        + [shown("tables", name, "csv", "Tables") for name in tables],
        "others": [f"{STUDY.results}/figures/{name}.pdf" for name in figures]
        + expand(
            f"{STUDY.results}/tables/{{name}}.{{kind}}", name=tables, kind=("md", "tex")
        ),
    }


def warned():
    """What the jobs of this study warned of, in their logs; those that were not run again now included."""
    logs = [
        *expand(
            f"results/logs/prepare/{STUDY.name}/{{dataset}}.log", dataset=STUDY.datasets
        ),
        *expand(f"results/logs/notebooks/{STUDY.name}/{{name}}.log", name=NOTEBOOKS),
        f"results/logs/summary/{STUDY.name}.log",
    ]
    texts = [
        Path(log).read_text(errors="replace") for log in filter(os.path.exists, logs)
    ]
    lines = (line for text in texts for line in text.split("\n"))
    return list(dict.fromkeys(line for line in lines if line.startswith(WARNING)))
