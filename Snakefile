# The study of config.yaml: raw data -> prepared stores -> adapted GFMs -> tables, figures, report.
#   snakemake --cores all                                                        everything
#   snakemake --cores 1 results/mini/figures/parameter_efficiency.png           one figure
#   snakemake --cores all --config study=paper                                   the paper's grid
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


# With `--directory`, or from another folder: the config.yaml there, else the project's.
HERE = Path("config.yaml")


configfile: str(HERE if HERE.exists() else Path(workflow.basedir) / HERE)


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/gfms.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


onsuccess:
    for line in warned():
        logger.warning(line)


onerror:
    for line in warned():
        logger.warning(line)
    logger.error(
        f"`deflect --study {STUDY.name} report` makes tables and figures of the runs that are finished."
    )


rule all:
    default_target: True
    input:
        MAIN_RECORDS,
        VARIANT_RECORDS,
        STAMPS,
        RESULTS,
        f"{STUDY.results}/report.html",
