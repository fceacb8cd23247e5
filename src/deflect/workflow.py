"""Functions that the rules of the workflow use directly. Needs no torch."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deflect.config import CHECKOUT, read
from deflect.files import sha256_file, sha256_json, write_text
from deflect.settings import DATASETS, PIXEL_TASKS

if TYPE_CHECKING:
    from deflect.settings.study import Study

#: Environment variable with which the workflow reports on the finished runs and does nothing else.
PRESENT_RUNS = "DEFLECT_PRESENT_RUNS"
#: The file that makes a folder of results an RO-Crate.
CRATE_METADATA = "ro-crate-metadata.json"
#: Prefix of warnings in logs.
WARNING = "warning: "
#: Assignment in a shell with which Python finds this code.
_PYTHONPATH = f'PYTHONPATH={shlex.quote(str(CHECKOUT / "src"))}"${{PYTHONPATH:+:$PYTHONPATH}}"'


def config_file(config: Mapping[str, Any], own: Path) -> Path:
    """The file from which commands read ``config``, the configuration as Snakemake has it.

    It is ``own``, which Snakemake read, or, if options of Snakemake changed more than the study, a copy of the whole
    configuration, named after its content. Commands are given the study by name.
    """
    if read(own) | {"study": config["study"]} == config:
        return own
    plain = json.loads(json.dumps(config))
    copy = Path(f"results/logs/config/{sha256_json(plain)[:12]}.yaml")
    if not copy.exists():
        write_text(copy, yaml.safe_dump(plain, sort_keys=False))
    return copy


def shell_prefix(conda: bool) -> str:
    """Start of every shell command of a rule, with which ``python -m deflect`` runs this code.

    Snakemake removes PYTHONPATH from jobs in a conda environment, so it is set after the environment is activated.
    Without ``conda``, ``python`` is the interpreter that runs Snakemake, even if its environment is not activated.
    """
    programs = shlex.quote(str(Path(sys.executable).parent))
    prefix = f"set -euo pipefail; export {_PYTHONPATH}; "
    prefix += "" if conda else f'export PATH={programs}:"$PATH"; '
    return prefix.replace("{", "{{").replace("}", "}}")  # Snakemake formats it


def python_of_module(conda: bool) -> str:
    """The interpreter of a rule's command, with this code, if the workflow is a module of another.

    A prefix would be that of all rules, also of the other workflow.
    """
    return f"{_PYTHONPATH} {'python' if conda else shlex.quote(sys.executable)}"


def grid(study: Study) -> dict[str, Any]:
    """The blocks of a study's runs, by which missing runs are found; titles of a user's own datasets and GFMs."""
    blocks = [{name: list(values) for name, values in block._asdict().items()} for block in study.blocks()]
    titles = {name: sheet.title for name, sheet in _own(study).items() if sheet.title != name}
    titles |= {name: own.title or own.timm for name, own in study.own_gfms.items()}
    return {"blocks": blocks} | ({"titles": titles} if titles else {})


def prepared_datasets(study: Study) -> list[str]:
    """The study's datasets; a report on the finished runs leaves out those without a store."""
    if os.environ.get(PRESENT_RUNS):
        return [name for name in study.datasets if (study.prepared(name) / "store.json").exists()]
    return list(study.datasets)


def segmentation_datasets(study: Study) -> list[str]:
    """The study's datasets with labels of pixels, of which maps are shown.

    Raises:
        DeflectError: the card of a user's own dataset, which has its task, is not valid.
    """
    tasks = dict.fromkeys(("burn_scars", "mados"), "segmentation")
    tasks |= {name: sheet.task for name, sheet in _own(study).items()}
    return [name for name in prepared_datasets(study) if tasks.get(name) in PIXEL_TASKS]


def _own(study: Study) -> dict[str, Any]:
    """The data sheets of a user's own datasets in a study."""
    names = [name for name in study.datasets if name not in DATASETS]
    if names:
        from deflect.data.readers.own.sheet import sheet_of  # slow to import

        return {name: sheet_of(name, study.raw(name)) for name in names}
    return {}


def write_index(study: Study) -> Path:
    """Write a list of the finished runs with the hashes of their records."""
    runs = study.results / "runs"
    index = runs / "index.csv"
    records = sorted(runs.glob("*/*/*/seed*/record.json"))
    lines = [f"{path.parent.relative_to(runs).as_posix()},{sha256_file(path)}\n" for path in records]
    write_text(index, "run,sha256\n" + "".join(lines))
    return index


def warnings(study: Study) -> list[str]:
    """The warnings in the logs of a study, including jobs that were not run again."""
    logs = [Path(f"results/logs/prepare/{study.name}/{name}.log") for name in study.datasets]
    logs += sorted(Path(f"results/logs/notebooks/{study.name}").glob("*.log"))
    logs += [Path(f"results/logs/summary/{study.name}.log")]
    texts = [log.read_text(errors="replace") for log in logs if log.exists()]
    lines = [line for text in texts for line in text.split("\n") if line.startswith(WARNING)]
    return list(dict.fromkeys(lines))
