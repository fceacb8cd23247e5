"""Slurm on one node: munged, slurmctld and slurmd of this machine, as root, on the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The cores and memory are more than the machine has, so that jobs of several runs start; `gpu` is a device file that
#: exists everywhere, so that Slurm counts one GPU and sets CUDA_VISIBLE_DEVICES.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=defer,sched_interval=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=32 RealMemory=300000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")


def available() -> bool:
    """Whether this machine can run Slurm on one node: as root, with its programs."""
    return os.geteuid() == 0 and all(map(shutil.which, PROGRAMS))


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run Slurm with its files in ``folder``, a short path; yields the variables that clients need."""
    for part in ("state", "spool"):
        (folder / part).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, folder=folder, ctld=_port(), slurmd=_port()).lstrip())
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munge += [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    daemons = [munge, ["slurmctld", "-D", "-f", str(config)], ["slurmd", "-D", "-f", str(config)]]
    running: list[subprocess.Popen] = []
    # The plugin removes SLURM_CONF from the environment of `srun`, so it is set there.
    srun = folder / "bin/srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    variables = {"SLURM_CONF": str(config), "PATH": f"{srun.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    try:
        for command in daemons:
            with (folder / f"{command[0]}.out").open("w") as out:
                running.append(subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True))
            time.sleep(0.5)
        _wait_until_idle(variables, running, folder)
        yield variables
    finally:
        subprocess.run(["scancel", "--full", "--user=root"], env=os.environ | variables, check=False)
        time.sleep(1)
        for process in reversed(running):
            process.terminate()
            process.wait(timeout=30)


def _wait_until_idle(variables: dict[str, str], running: list[subprocess.Popen], folder: Path) -> None:
    """Wait until the node takes jobs."""
    for _ in range(60):
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], env=os.environ | variables, capture_output=True, text=True
        )
        if state.stdout.strip() == "idle":
            return
        assert all(process.poll() is None for process in running), f"a daemon ended; see its .out and .log in {folder}"
        time.sleep(0.5)
    raise AssertionError(f"the node is {state.stdout}{state.stderr}; see the logs in {folder}")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
