# The study of config.yaml: raw data -> prepared stores -> adapted GFMs -> tables, figures, report.
#   snakemake --cores all                                                        everything
#   snakemake --cores 1 results/mini/figures/parameter_efficiency.png           one figure
#   snakemake --cores all --config study=paper                                   the paper's grid
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

sys.path.insert(0, str(Path(workflow.basedir) / "src"))
from deflect.config import of_project
from deflect.workflow import PRESENT_RUNS, warnings

# The config.yaml of the working directory, or else the project's.
CONFIG_FILE = of_project("config.yaml")


configfile: str(CONFIG_FILE)


include: "workflow/rules/common.smk"


if os.environ.get(PRESENT_RUNS):
    # `deflect report` uses the finished runs only, so no other rules are included.
    RECORDS, FINISHED = (
        list(filter(os.path.exists, files)) for files in (RECORDS, FINISHED)
    )
else:

    include: "workflow/rules/data.smk"
    include: "workflow/rules/gfms.smk"
    include: "workflow/rules/runs.smk"

    if TUNED:

        include: "workflow/rules/tune.smk"


include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


onsuccess:
    for line in warnings(STUDY):
        logger.warning(line)


onerror:
    for line in warnings(STUDY):
        logger.warning(line)
    logger.error(
        f"`deflect --study {STUDY.name} report` makes tables and figures of the runs that are finished."
    )


rule all:
    default_target: True
    input:
        RECORDS,
        FINISHED,
        rules.results.input,
        rules.report.output,
        rules.crate.output,
    message:
        "study {STUDY.name} is complete"
