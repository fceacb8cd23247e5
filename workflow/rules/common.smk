# Names that every rule file uses: the checked configuration, wildcards and the source files of each stage.
import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from deflect.config import DATASETS, parse
from deflect.errors import DeflectError

try:
    CONFIG = parse(config)
except DeflectError as error:
    raise WorkflowError(str(error)) from None

STUDY = CONFIG.study

# Every command reads the very configuration that was checked here, whatever --config or --configfile changed.
os.environ["DEFLECT_CONFIG"] = json.dumps(config)
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(workflow.basedir) / "src"), os.environ.get("PYTHONPATH", "")])

VARIANTS = list(STUDY.variants.settings)


def one_of(names):
    """A wildcard pattern that matches these names and nothing else."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    dataset=one_of(STUDY.datasets),
    gfm=one_of(STUDY.gfms),
    method=one_of(STUDY.methods),
    variant=one_of(VARIANTS),
    seed=r"\d+",
    split="train|val|test",


def source(*patterns):
    """Source files of a stage as inputs: a change in one of them, and only that, makes the stage run again."""
    root = Path(workflow.basedir)
    names = ["bands.py", "files.py", "errors.py", *patterns]
    files = {path for name in names for path in (root / "src/deflect").glob(name)}
    return sorted(os.path.relpath(path) for path in files)
