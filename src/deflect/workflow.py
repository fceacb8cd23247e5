"""``deflect report``: the workflow's last rules on their own."""

from __future__ import annotations

import subprocess
import sys

from deflect.config import Study
from deflect.errors import DeflectError

#: The rules that read run records and nothing else.
REPORT_RULES = ("notebook", "summary", "report")


def report(study: Study) -> int:
    """Rebuild the tables, figures and report of a study from the records that are there; trains nothing.

    Raises:
        DeflectError: there are no records yet.
    """
    if not any(study.results.glob("runs/**/record.json")):
        raise DeflectError(f"{study.results}/runs: no finished runs; run `snakemake --cores all` first")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--config", f"study={study.name}"]
    targets = [f"{study.results}/report.html"]
    return subprocess.run([*command, "--allowed-rules", *REPORT_RULES, "--", *targets]).returncode
