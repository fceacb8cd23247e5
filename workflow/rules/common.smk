# Shared by all rules: the checked configuration, wildcards, paths, and what each method depends on.
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

from deflect.settings import DATASETS
from deflect.config import parse as parse_config
from deflect.config import read as read_config
from deflect.data.manifest import folder_sha256
from deflect.errors import DeflectError
from deflect.fingerprint import code_sha256
from deflect.cli.machine import make_usable
from deflect.workflow import (
    CRATE_METADATA,
    config_file,
    grid,
    prepared_datasets,
    python_of_module,
    segmentation_datasets,
    shell_prefix,
)

try:
    # Snakemake accepts a key given twice, deflect refuses it.
    for file in workflow.configfiles:
        if str(file).endswith((".yaml", ".yml")) and Path(file).is_file():
            read_config(Path(file))
    CONFIG = parse_config(config)
    CONFIG_FILE = config_file(config, CONFIG_FILE)
    SEGMENTATION = segmentation_datasets(CONFIG.study)
except DeflectError as error:
    raise WorkflowError(str(error)) from None

STUDY = CONFIG.study
TUNED = list(STUDY.tuned())
# The runs in addition to the main grid that need no search first.
ADDITIONAL = [name for name in STUDY.additional() if name not in TUNED]
FEW_LABELS = list(STUDY.few_labels())

# Set TMPDIR and similar variables where this machine's values would not work.
for line in make_usable():
    print(f"deflect: {line}", file=sys.stderr)

# Log lines that repeat that a job starts or has finished.
SILENT = ("Select jobs to execute", "Execute ", "Touching output file ")

USES_CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
# Whether this is the workflow that runs, and not a module of another, whose rules and log are left as they are.
IS_MAIN = workflow.modifier.is_main_snakefile()
if IS_MAIN:
    logger.addFilter(lambda record: not str(record.msg).startswith(SILENT))
    shell.prefix(shell_prefix(USES_CONDA))
elif workflow.modifier.modify_path("results") != "results":
    raise WorkflowError(
        "the module statement: `prefix` and `replace_prefix` are not supported, because the commands write to data/, weights/ "
        "and results/ in the working directory; leave them out"
    )


def python(wildcards, input):
    """The interpreter of every command. Snakemake ignores changes of a parameter that has the argument `input`."""
    return "python" if IS_MAIN else python_of_module(USES_CONDA)


def deflect(wildcards, input):
    """The start of every command."""
    options = ["-m", "deflect", "--config", str(CONFIG_FILE), "--study", STUDY.name]
    return f"{python(wildcards, input)} {shlex.join(options)}"


def one_of(names):
    """A wildcard pattern that matches exactly these names."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    dataset=one_of(STUDY.datasets),
    gfm=one_of(STUDY.gfms),
    method=one_of([*STUDY.methods, *ADDITIONAL, *TUNED]),
    seed=r"\d+",
    part=r"\d+",


RESULTS = f"results/{STUDY.name}"
STORE = f"data/prepared/{STUDY.name}/{{dataset}}/store.json"
PART = f"data/prepared/{STUDY.name}/.parts/{{dataset}}.{{part}}of{STUDY.prepare_jobs}"
# Written after the weights, with their hash.
GFM_CARD = f"weights/{STUDY.name}/{{gfm}}.json"
DUPLICATES = f"{RESULTS}/duplicates/{{dataset}}.json"
INDEX = f"{RESULTS}/runs/index.csv"
RUN = f"{RESULTS}/runs/{{dataset}}/{{gfm}}/{{method}}/seed{{seed}}"
RECORD = f"{RUN}/record.json"
# The result of a search for learning rate and rank.
SEARCH = str(STUDY.search("{dataset}", "{gfm}", "{method}"))

RECORDS = [RECORD.format(**run._asdict()) for run in STUDY.runs()]
ADDITIONAL_RECORDS = [
    RECORD.format(**run._asdict()) for run in STUDY.runs() if run.method in ADDITIONAL
]
GRID = grid(STUDY)
# Written by a job when all its runs have finished.
if STUDY.share_process:
    FINISHED = expand(f"{RESULTS}/runs/{{method}}.finished", method=STUDY.methods)
    FINISHED += [f"{RESULTS}/runs/additional.finished"] if ADDITIONAL else []
    FINISHED += [f"{RESULTS}/runs/tuned.finished"] if TUNED else []
else:
    FINISHED = [str(Path(record).with_name("finished")) for record in RECORDS]


def settings(name):
    """The settings of a method or additional run; a change reruns only its runs and searches."""
    method = CONFIG.method(name)
    return [
        method.method,
        method.settings,
        STUDY.training,
        method.training,
        STUDY.gfm_size,
    ]


def raw_files(wildcards):
    """The files that must exist before a dataset is prepared."""
    folder = STUDY.raw(wildcards.dataset)
    if wildcards.dataset not in DATASETS:
        return f"{folder}/card.yaml"
    if STUDY.simulated:
        return [f"{folder}/SIMULATED.json", f"{folder}.finished"]
    return f"data/raw/archives/{wildcards.dataset}.fetched"


def accepted(wildcards):
    """Whether a dataset is read with the publisher's band names, and whether its files are taken as they are."""
    return [
        wildcards.dataset in STUDY.as_published,
        wildcards.dataset in STUDY.unchecked,
    ]


def prepared_parts(wildcards):
    """The stamps of the jobs that prepare a dataset side by side."""
    n = STUDY.prepare_jobs
    return expand(PART, part=range(1, n + 1), **wildcards) if n > 1 else []


def own_weights(wildcards):
    """The file of a user's own weights, if they are in a file."""
    own = STUDY.own_gfms[wildcards.gfm]
    return [] if own.from_hub else own.weights


def own_files(wildcards):
    """One hash of the names, sizes and times of all files of a user's own dataset."""
    own = wildcards.dataset not in DATASETS
    return folder_sha256(STUDY.raw(wildcards.dataset)) if own else ""


def shown(path, category, caption=None):
    """An output that the HTML report shows, with the caption of the same name by default."""
    name = Path(path).stem
    return report(
        path,
        caption=f"../report/{caption or name}.rst",
        category=category,
        labels={"name": name.replace("_", " "), "format": Path(path).suffix[1:]},
    )


def table(name):
    """The files of a table; the HTML report shows the first."""
    path = f"{RESULTS}/tables/{name}"
    return [shown(f"{path}.csv", "Tables"), f"{path}.md", f"{path}.tex"]


def figure(name, caption=None):
    """The files of a figure; the HTML report shows the first."""
    path = f"{RESULTS}/figures/{name}"
    return [shown(f"{path}.png", "Figures", caption), f"{path}.pdf"]
