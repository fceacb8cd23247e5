"""Snakemake's Slurm executor with the rules of a group side by side.

The plugin ``slurm`` starts one rule of a group after the other, each as a job step with all memory of the job. Here
the job runs them as on any machine: at the same time, as far as its cores suffice. Snakemake finds this package on
PYTHONPATH by its name; ``workflow/profiles/slurm_packed`` uses it to train several small runs on one GPU.
"""

from __future__ import annotations

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]


class Executor(SlurmExecutor):
    """Submits each job and each group as one Slurm job without job steps."""

    def additional_general_args(self) -> str:
        return ""
