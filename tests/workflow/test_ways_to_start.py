"""The study runs however Snakemake is started: with conda, from other folders, not activated, on poor machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from projects import change, copy_project
from rehearsed_conda import write_conda

BIN = Path(sys.executable).parent
#: A machine's own programs: no `python` of ours, perhaps none at all.
SYSTEM = os.pathsep.join(["/usr/bin", "/bin"])
WAYS = ["conda", "other_folder", "directory", "not_activated", "poor_machine"]
RGB = "data/simulated/rgb.npy"


def start(way: str, project: Path, folder: Path, *targets: str, install_pins: bool = False) -> Path:
    """Run Snakemake in one of the ways for ``targets``; returns the folder that holds what it made."""
    work, path, options = project, SYSTEM, []
    if way == "conda":
        path, options = f"{write_conda(folder / 'conda', install_pins)}{os.pathsep}{SYSTEM}", ["--use-conda"]
    elif way == "other_folder":
        (work := folder / "another folder").mkdir()
        options = ["-s", str(project / "Snakefile")]
    elif way == "directory":
        options = ["--directory", str(folder / "another folder")]
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in hidden} | {"PATH": path}
    if way == "poor_machine":  # no HOME to write to, and sockets below TMPDIR would have too long paths
        (long := folder / ("a_batch_job_" * 8)).mkdir()
        environment |= {"HOME": "/dev/null/home", "TMPDIR": str(long)}
    command = [str(BIN / "snakemake"), "--cores", "all", *options, "--", *targets]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "another folder" if way == "directory" else work


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return copy_project(tmp_path_factory.mktemp("a project"))


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_finds_python_and_the_package(way, project, tmp_path):
    (project / RGB).unlink(missing_ok=True)
    made = start(way, project, tmp_path, RGB)
    assert (made / RGB).exists()
    assert (project / RGB).exists() == (made == project)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_small_study_reaches_its_report(way, tmp_path):
    """With conda, in an environment made of nothing but the pins of workflow/envs/deflect.yml."""
    project = copy_project(tmp_path / "a project")
    made = start(way, project, tmp_path, install_pins=True)
    assert len(list(made.glob("results/mini/runs/*/*/*/seed0/record.json"))) == 6
    assert (made / "results/mini/report.html").stat().st_size > 100_000
    assert (made / "results/mini/figures/segmentation_maps_burn_scars.png").exists()
    assert (project / "results").exists() == (made == project)


def test_a_config_file_of_the_working_directory_comes_first(project, tmp_path):
    (tmp_path / "config.yaml").write_text((project / "config.yaml").read_text())
    change(tmp_path, lambda config: config.update(study="minni"))
    command = [str(BIN / "snakemake"), "-n", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert "unknown study 'minni'" in done.stdout + done.stderr
