"""The Kubernetes profile runs rules in pods that share a volume."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from kube_server import serve
from projects import change, copy_project, run

PROFILE = "workflow/profiles/kubernetes"
RGB = "data/simulated/rgb.npy"
RECORD = "results/mini/runs/brick_kiln/scale_mae/frozen/seed0/record.json"


@pytest.fixture
def project(tmp_path) -> Path:
    """A project whose folder is the volume, with the small study in single runs."""
    project = copy_project(tmp_path / "volume")
    change(project, lambda config: config["studies"]["mini"].update(share_process=False, methods=["frozen"]))
    path = project / PROFILE / "profile.yaml"
    profile = yaml.safe_load(path.read_text()) | {"kubernetes-volume-persistent-volumes": [f"deflect:{project}"]}
    path.write_text(yaml.safe_dump(profile))
    return project


@pytest.fixture
def cluster(tmp_path):
    (home := tmp_path / "home").mkdir()
    with serve(home) as cluster:
        cluster.kubeconfig(tmp_path / "kubeconfig")
        yield cluster


def snakemake(project: Path, *arguments: str, expect: int = 0) -> str:
    """Run Snakemake with the profile; the plugin is found by its name on Python's path."""
    options = ["--workflow-profile", PROFILE, "--seconds-between-status-checks", "1", *arguments]
    variables = {"KUBECONFIG": str(project.parent / "kubeconfig"), "PYTHONPATH": str(project / "workflow/plugins")}
    return run(project, str(Path(sys.executable).with_name("snakemake")), *options, expect=expect, **variables)


def test_job_runs_in_a_pod_that_shares_the_volume(project, cluster):
    snakemake(project, RGB)
    assert (project / RGB).exists()
    assert (project / "results/logs/simulate/rgb.log").exists()
    [job] = cluster.jobs.values()
    pod = cluster.container(job)
    assert pod["image"] == "registry.example.org/deflect:latest"
    assert {"name": "deflect", "mountPath": str(project)} in pod["volumeMounts"]
    assert pod["resources"]["limits"] == {"cpu": "1000m", "memory": "8000M", "ephemeral-storage": "4000M"}
    claim = {"name": "deflect", "persistentVolumeClaim": {"claimName": "deflect"}}
    assert claim in job["spec"]["template"]["spec"]["volumes"]
    assert job["metadata"]["labels"] == {"app": "snakemake"}
    assert not cluster.running, "jobs are deleted"
    assert not cluster.secrets


@pytest.mark.slow
def test_log_of_a_failed_job_is_shown(project, cluster):
    """The plugin asks for a log that the API refuses, after which Snakemake would stop all jobs."""
    with (project / "src/deflect/data/simulate/__init__.py").open("a") as module:
        module.write("\nraise RuntimeError('no light')\n")
    log = snakemake(project, RGB, expect=1)
    assert "no light" in log
    assert "Kubernetes request failed" not in log


@pytest.mark.slow
def test_runs_ask_for_one_gpu_with_a_limit(project, cluster):
    snakemake(project, RECORD)
    assert json.loads((project / RECORD).read_text())["method"] == "frozen"
    [pod] = [
        found for found in map(cluster.container, cluster.jobs.values()) if "--allowed-rules train " in found["args"][1]
    ]
    limits = {"cpu": "4000m", "memory": "32000M", "ephemeral-storage": "4000M", "nvidia.com/gpu": "1"}
    assert pod["resources"]["limits"] == limits
