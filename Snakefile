# The workflow is in workflow/, where the Snakemake workflow catalogue and other workflows look for it.
include: "workflow/Snakefile"


workflow.default_target = "all"  # an included file does not set it
