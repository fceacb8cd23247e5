"""The project's ``dvc.yaml``, ``.dvcignore`` and ``.gitignore`` with the real DVC, the study replaced by ``true``."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml
from paths import ROOT
from projects import run

CONTENT = {
    "data/raw/README.md": "raw",
    "data/raw/fields/field/0.tif": "image",
    "data/raw/archives/MADOS.zip": "download",
    "data/prepared/mini/fields/train.images.npy": "prepared",
    "results/mini/runs/record.json": "{}",
    "results/mini/tables/main.csv": "a,b",
    "results/mini/notebooks/main.ipynb": "{}",
    "results/mini/report.html": "report",
    "results/mini/figures/parameter_efficiency.png": "figure",
    "results/mini/averages.csv": "a,b\n1,2",
    "results/mini/metrics.json": '{"a": 1}',
}
COPIED = {"figure", "a,b\n1,2", '{"a": 1}'}  # small: what `dvc metrics diff` and `dvc plots diff` compare


@pytest.fixture
def project(tmp_path):
    for part in ("Snakefile", "config.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / part, tmp_path)
    for part in ("workflow", "src/deflect", "notebooks", "references"):
        (tmp_path / part).mkdir(parents=True)
        (tmp_path / part / "file").write_text(part)
    for path, text in CONTENT.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data/raw/linked").symlink_to(tmp_path / "elsewhere")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    study = pipeline["stages"]["study"]
    study["cmd"] = "true"
    study["deps"].append("data/raw/linked")  # as `deflect doctor` says of a link to a folder
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "dvc", "init", "-q")
    run(tmp_path, "dvc", "repro")
    return tmp_path


def copies(project):
    """The content of all files in the cache of DVC, without its lists of folders."""
    cache = project / ".dvc/cache/files/md5"
    return {path.read_text() for path in cache.glob("*/*") if path.suffix != ".dir"}


def test_no_large_file_is_copied_and_a_second_repro_does_nothing(project):
    assert copies(project) == COPIED
    assert "didn't change, skipping" in run(project, "dvc", "repro")
    run(project, "dvc", "commit", "--force")
    assert copies(project) == COPIED
    (project / "data/raw/archives/MADOS.zip").unlink()
    assert "Data and pipelines are up to date" in run(project, "dvc", "status")
    (project / "data/raw/fields/field/0.tif").write_text("another")
    (project / "elsewhere/0.tif").write_text("another")
    changed = re.findall(r"modified: +(.+)", run(project, "dvc", "status"))
    assert changed == ["data/raw", "data/raw/linked"]


def test_dvc_sees_what_was_added(project):
    """The patterns of ``.gitignore`` must not hide .dvc files, or ``dvc push`` leaves out the data in silence."""
    run(project, "dvc", "add", "data/raw/fields")
    run(project, "git", "add", "data/raw/fields.dvc")
    run(project, "dvc", "remote", "add", "--default", "remote", "remote")
    run(project, "dvc", "push")
    assert "image" in {path.read_text() for path in (project / "remote").rglob("*") if path.is_file()}
