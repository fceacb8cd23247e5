"""What the rules of the workflow take from the package, beside the commands that they run. Needs no torch."""

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
from deflect.files import atomic_path, sha256_file, sha256_json
from deflect.settings import DATASETS

if TYPE_CHECKING:
    from deflect.settings.study import Study

#: Variable of the environment: set, the workflow reports on the runs that are there and can do nothing else.
PRESENT_RUNS = "DEFLECT_PRESENT_RUNS"
#: What a line of a log begins with that is a warning.
WARNING = "warning: "


def config_file(config: Mapping[str, Any], own: Path) -> Path:
    """The file that commands read to work with ``config``, the configuration as Snakemake has it.

    It is ``own``, which Snakemake read first. Where options of Snakemake changed more than the study, which every
    command is given by name, it is a copy of the whole configuration, named after its content.
    """
    if read(own) | {"study": config["study"]} == config:
        return own
    plain = json.loads(json.dumps(config))
    copy = Path(f"results/logs/config/{sha256_json(plain)[:12]}.yaml")
    if not copy.exists():
        with atomic_path(copy) as aside:
            aside.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    return copy


def shell_prefix(conda: bool) -> str:
    """What every shell command of a rule starts with, so that ``python -m deflect`` is this very code.

    Snakemake takes PYTHONPATH away from jobs in a conda environment; set here, after the environment is active, it
    stays. Without ``conda``, ``python`` is the interpreter that runs Snakemake, also where no environment is active.
    """
    source, programs = shlex.quote(str(CHECKOUT / "src")), shlex.quote(str(Path(sys.executable).parent))
    prefix = f'set -euo pipefail; export PYTHONPATH={source}"${{PYTHONPATH:+:$PYTHONPATH}}"; '
    prefix += "" if conda else f'export PATH={programs}:"$PATH"; '
    return prefix.replace("{", "{{").replace("}", "}}")  # Snakemake formats it


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


def write_index(study: Study) -> Path:
    """List every finished run with the hash of its record: what tables and figures are made of, in one file."""
    runs = study.results / "runs"
    index = runs / "index.csv"
    records = sorted(runs.glob("*/*/*/seed*/record.json"))
    lines = [f"{path.parent.relative_to(runs).as_posix()},{sha256_file(path)}\n" for path in records]
    with atomic_path(index) as aside:
        aside.write_text("run,sha256\n" + "".join(lines), encoding="utf-8")
    return index


def warnings(study: Study) -> list[str]:
    """What the jobs of a study warned of, in their logs; those that were not run again now included."""
    logs = [Path(f"results/logs/prepare/{study.name}/{name}.log") for name in study.datasets]
    logs += sorted(Path(f"results/logs/notebooks/{study.name}").glob("*.log"))
    logs += [Path(f"results/logs/summary/{study.name}.log")]
    texts = [log.read_text(errors="replace") for log in logs if log.exists()]
    lines = [line for text in texts for line in text.split("\n") if line.startswith(WARNING)]
    return list(dict.fromkeys(lines))
