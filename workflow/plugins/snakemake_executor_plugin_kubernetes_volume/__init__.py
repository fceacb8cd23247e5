"""Snakemake's Kubernetes executor with a working directory on a volume that all pods share.

With the plugin ``kubernetes``, every declared file is copied to and from a storage service, into an empty folder.
deflect's commands read and write whole folders (stores, checkpoints) of which rules declare one file, so they need the
folder itself. Snakemake finds this package on PYTHONPATH by its name; ``workflow/profiles/kubernetes`` uses it.
"""

from __future__ import annotations

import os
import shlex

from snakemake_executor_plugin_kubernetes import Executor as KubernetesExecutor
from snakemake_executor_plugin_kubernetes import ExecutorSettings
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(KubernetesExecutor):
    """Runs each job in a pod, in the folder from which Snakemake was started. It must be on a persistent volume."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # The plugin asks for the log of the container before its restart. Its pods never restart, and the API refuses.
        read_log = self.kubeapi.read_namespaced_pod_log
        self.kubeapi.read_namespaced_pod_log = lambda **options: read_log(**options | {"previous": False})

    def get_job_exec_prefix(self, job: JobExecutorInterface) -> str:
        return f"cd {shlex.quote(os.getcwd())}"
