"""Kill a small study many times: no finished run may be trained twice, and the results must be the same bytes.

    python tests/long/kill_study.py [--kills 30] [--modes alone group] [--folder FOLDER]

Every run is its own job, as in the paper study. ``alone`` kills Snakemake only, so that its jobs may still run at the
next start; ``group`` kills its jobs too. On a Slurm cluster, add ``--slurm --modes alone``: jobs stay in the queue.
Takes half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from projects import change, copy_project, environment, run

from deflect.files import sha256_file

SLURM = ["--workflow-profile", "workflow/profiles/slurm", "--latency-wait", "10"]
SLURM += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
OUTCOME = ("metrics", "score", "confusion", "best_epoch", "fingerprint", "files")


def separate(config: dict) -> None:
    """One job per run, long enough to be killed, with a checkpoint after every epoch."""
    mini = config["studies"]["mini"]
    mini |= {"share_process": False, "seeds": [0, 1]}
    for task in mini["training"].values():
        task |= {"epochs": 6, "checkpoint_every": 1, "checkpoint_minutes": 0}


def start(project: Path, slurm: bool) -> subprocess.Popen:
    """Start Snakemake in a new process group."""
    run(project, "snakemake", "--unlock")
    command = ["snakemake", *(SLURM if slurm else ["--cores", "2"])]
    with open(project / "snakemake.log", "ab") as log:
        return subprocess.Popen(command, cwd=project, env=environment(), stdout=log, stderr=log, start_new_session=True)


def finished(project: Path) -> dict[str, str]:
    """The start of each finished run, which differs if the run was trained again."""
    records = (project / "results/mini/runs").glob("*/*/*/seed*/record.json")
    return {str(path.parent.relative_to(project)): json.loads(path.read_text())["started"] for path in records}


def outcome(project: Path) -> dict[str, str]:
    """What kills must not change: tables, figures except the one of time and memory, and the results of runs."""
    results = project / "results/mini"
    files = [p for kind in ("tables", "figures") for p in (results / kind).iterdir() if p.stem != "cost"]
    found = {str(path.relative_to(results)): sha256_file(path) for path in sorted(files)}
    for path in sorted(results.glob("runs/*/*/*/seed*/record.json")):
        record = json.loads(path.read_text())
        record["files"] = {name: sha for name, sha in record["files"].items() if name != "history.csv"}  # has seconds
        found[str(path.relative_to(results))] = json.dumps({key: record[key] for key in OUTCOME}, sort_keys=True)
    return found


def kill_study(project: Path, mode: str, kills: int, slurm: bool) -> tuple[int, int, int]:
    """Start and kill Snakemake, and let it finish at the end.

    Returns:
        The number of kills, of runs seen finished, and of those that were trained again.
    """
    generator, seen, done, again = random.Random(0), {}, 0, 0
    while done < kills:
        process = start(project, slurm)
        try:
            process.wait(generator.uniform(2, 25))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL) if mode == "alone" else os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
            if mode == "alone":
                time.sleep(generator.choice([0, 3, 10]))
        now = finished(project)
        again += sum(now.get(name) != started for name, started in seen.items())
        seen |= now
        print(f"{mode}: kill {done}, {len(now)} runs finished, {again} trained again", flush=True)
        if process.returncode == 0:  # finished before enough kills: repeat the runs and what follows
            seen = {}
            shutil.rmtree(project / "results/mini")
    assert start(project, slurm).wait() == 0, (project / "snakemake.log").read_text()[-3000:]
    now = finished(project)
    return done, len(seen), again + sum(now.get(name) != started for name, started in seen.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--modes", nargs="+", choices=("alone", "group"), default=["alone", "group"])
    parser.add_argument("--slurm", action="store_true")
    parser.add_argument("--folder", type=Path, help="on a file system that all nodes share (default: a temporary one)")
    args = parser.parse_args()
    errors = 0
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        names = ("reference", *args.modes)
        projects = {name: copy_project(Path(folder) / name) for name in names}  # all of the same code
        for project in projects.values():
            change(project, separate)
        reference = projects["reference"]
        assert start(reference, slurm=False).wait() == 0, (reference / "snakemake.log").read_text()[-3000:]
        wanted = outcome(reference)
        for mode in args.modes:
            kills, seen, again = kill_study(projects[mode], mode, args.kills, args.slurm)
            found = outcome(projects[mode])
            differing = [name for name in wanted if found.get(name) != wanted[name]]
            print(f"{mode}: {kills} kills, {seen} runs seen finished, {again} trained again, differing: {differing}")
            errors += again + len(differing)
    return int(errors > 0)


if __name__ == "__main__":
    sys.exit(main())
