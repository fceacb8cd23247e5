"""Snakemake works with conda, from other folders, without an active environment, and on restricted machines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_conda import write_conda
from projects import change, copy_project, run

SNAKEMAKE = Path(sys.executable).with_name("snakemake")
#: The search path of a machine without the environment.
SYSTEM = "/usr/bin:/bin"
WAYS = ["conda", "other_folder", "directory", "not_activated", "restricted_machine"]
RGB = "data/simulated/rgb.npy"


def start(way: str, project: Path, folder: Path, *targets: str, install_pins: bool = False) -> Path:
    """Run Snakemake in one of ``WAYS`` for ``targets``; returns the folder of its results."""
    work, options, changes = project, [], {"PATH": SYSTEM}
    if way == "conda":
        options = ["--use-conda"]
        changes["PATH"] = f"{write_conda(folder / 'conda', install_pins)}:{SYSTEM}"
    elif way == "other_folder":
        (work := folder / "another folder").mkdir()
        options = ["-s", str(project / "Snakefile")]
    elif way == "directory":
        options = ["--directory", str(folder / "another folder")]
    elif way == "restricted_machine":  # HOME cannot be written, and TMPDIR is too long for sockets
        (long := folder / ("a_batch_job_" * 8)).mkdir()
        changes |= {"HOME": "/dev/null/home", "TMPDIR": str(long)}
    run(work, str(SNAKEMAKE), "--cores", "all", *options, "--", *targets, **changes)
    return folder / "another folder" if way == "directory" else work


@pytest.fixture
def project(tmp_path) -> Path:
    return copy_project(tmp_path / "a project")


@pytest.mark.parametrize("way", WAYS)
def test_rule_finds_python_and_the_package(way, project, tmp_path):
    made = start(way, project, tmp_path, RGB)
    assert (made / RGB).exists()
    assert (project / RGB).exists() == (made == project)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_small_study_reaches_its_report(way, project, tmp_path):
    """With conda, in an environment of exactly the pins of workflow/envs/deflect.yml."""
    made = start(way, project, tmp_path, install_pins=True)
    assert len(list(made.glob("results/mini/runs/*/*/*/seed0/record.json"))) == 6
    assert (made / "results/mini/report.html").stat().st_size > 100_000
    assert (made / "results/mini/figures/segmentation_maps_burn_scars.png").exists()
    assert (project / "results").exists() == (made == project)


def test_config_file_of_the_working_directory_comes_first(project, tmp_path):
    (tmp_path / "config.yaml").write_text((project / "config.yaml").read_text())
    change(tmp_path, lambda config: config.update(study="minni"))
    assert "unknown study 'minni'" in run(project, "snakemake", "-n", "--directory", str(tmp_path), expect=1)
