"""The Slurm profiles, on a Slurm of one node; where its programs are installed and the tests run as root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import change, copy_project, environment, run
from slurm_node import available, slurm

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not available(), reason="needs Slurm's daemons, munge and root")]

METHODS = ("frozen", "spectral_probe")
RECORDS = [f"results/mini/runs/brick_kiln/scale_mae/{method}/seed0/record.json" for method in METHODS]


@pytest.fixture(scope="module")
def node() -> Iterator[dict[str, str]]:
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short, because a socket is in it
    with slurm(folder) as variables:
        yield variables
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with single runs, whose data and weights are ready."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    change(project, lambda config: config["studies"]["mini"].update(share_process=False, methods=list(METHODS)))
    run(project, "snakemake", "--cores", "2", "--until", "prepare", "pretrain", "--", *RECORDS)
    return project


def command(executor: str, profile: str) -> list[str]:
    """Snakemake with a profile, on this Slurm without accounting, asking often."""
    prefix = f"--{executor}-"
    options = [f"{prefix}status-command", "squeue", f"{prefix}init-seconds-before-status-checks", "2"]
    return ["snakemake", "--workflow-profile", f"workflow/profiles/{profile}", *options, "--set-threads", "train=1"]


def jobs(node: dict[str, str]) -> list[str]:
    """What Slurm knows about each job, a text per job."""
    show = ["scontrol", "--oneliner", "show", "job"]
    shown = subprocess.run(show, env=os.environ | node, capture_output=True, text=True)
    return [line for line in shown.stdout.splitlines() if "rule_" in line]


def test_runs_are_trained_and_a_cancelled_one_is_trained_again(project, node):
    """The first job of a run is cancelled when it starts."""
    variables = environment(**node)
    work = subprocess.Popen([*command("slurm", "slurm"), "--", *RECORDS], cwd=project, env=variables)
    while not (running := [job for job in jobs(node) if "JobState=RUNNING" in job and "rule_train" in job]):
        assert work.poll() is None, "Snakemake ended before a run started"
        time.sleep(0.5)
    assert "TresPerJob=gres:gpu:1" in running[0]
    subprocess.run(["scancel", running[0].split()[0].removeprefix("JobId=")], env=variables, check=True)
    assert work.wait(timeout=600) == 1
    kept = [record for record in RECORDS if (project / record).exists()]
    assert len(kept) == 1, "one was cancelled, the other finished"
    before = (project / kept[0]).read_bytes()
    run(project, *command("slurm", "slurm"), "--", *RECORDS, **node)
    assert all((project / record).exists() for record in RECORDS)
    assert (project / kept[0]).read_bytes() == before


def test_packed_runs_share_a_gpu_at_the_same_time(project, node):
    shutil.rmtree(project / "results/mini/runs")
    run(
        project,
        *command("slurm-packed", "slurm_packed"),
        "--",
        *RECORDS,
        **node,
        PYTHONPATH=str(project / "workflow/plugins"),
    )
    [job] = [job for job in jobs(node) if "rule_runs" in job]
    assert "TresPerNode=gres:gpu:1" in job
    assert "NumCPUs=2" in job
    assert "TRES=cpu=2,mem=62.50G" in job
    records = [json.loads((project / record).read_text()) for record in RECORDS]
    last_start, first_end = max(each["started"] for each in records), min(each["finished"] for each in records)
    assert last_start < first_end, "at the same time, not one after the other"
