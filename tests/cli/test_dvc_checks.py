"""``deflect doctor`` finds what makes DVC give stale results, fail late or copy large data."""

from __future__ import annotations

import pytest
from dvc.repo import Repo

from deflect.cli import dvc_checks
from deflect.cli.dvc_checks import dvc_findings

STAGE = """
stages:
  study:
    cmd: "true"
    deps: [data/raw{more}]
    outs: [results/table.csv]
"""


def add(project, path):
    with Repo(str(project)) as repo:
        repo.add(str(project / path))


@pytest.fixture
def project(tmp_path):
    """A DVC project with one stage, from ``data/raw`` to ``results``."""
    project = tmp_path / "project"
    for folder in ("data/raw/fields", "results", ".dvc"):
        (project / folder).mkdir(parents=True)
    (project / "dvc.yaml").write_text(STAGE.format(more=""))
    (project / ".dvc/config").write_text("[core]\nno_scm = true\n")
    return project


@pytest.mark.parametrize(("kind", "level"), [(None, "ok"), ("copy", "ok"), ("symlink", "error"), ("hardlink", "error")])
def test_linked_cache_is_an_error_with_its_remedy(project, kind, level):
    if kind:
        (project / ".dvc/config").write_text(f"[core]\nno_scm = true\n[cache]\ntype = {kind}\n")
    ((found, line),) = dvc_findings(project)
    assert found == level
    assert (found != "error") or "dvc config --unset cache.type" in line


def test_linked_folder_is_named_until_it_is_a_dependency(project, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (project / "data/raw/fields/forest").symlink_to(tmp_path / "elsewhere")
    _, (level, line) = dvc_findings(project)
    assert (level, "data/raw/fields/forest is a link to a folder" in line) == ("note", True)
    (project / "dvc.yaml").write_text(STAGE.format(more=", data/raw/fields/forest"))
    assert [level for level, _ in dvc_findings(project)] == ["ok"]


def test_linked_results_are_an_error_before_anything_runs(project, tmp_path):
    (project / "results").rename(tmp_path / "results")
    (project / "results").symlink_to(tmp_path / "results")
    _, (level, line) = dvc_findings(project)
    assert (level, "DVC: results is behind a link" in line) == ("error", True)


def test_second_copy_of_large_data_is_named_with_its_size(project, monkeypatch):
    monkeypatch.setattr(dvc_checks, "LARGE", 2000)
    (project / "data/raw/fields/a.tif").write_bytes(bytes(1999))
    add(project, "data/raw/fields")
    assert [level for level, _ in dvc_findings(project)] == ["ok"]
    (project / "data/raw/fields/b.tif").write_bytes(b"x")
    add(project, "data/raw/fields")
    monkeypatch.setattr(dvc_checks, "_has_reflinks", lambda repo: False)  # as on ext4, wherever this test runs
    _, (level, line) = dvc_findings(project)
    assert (level, "second copy of data/raw/fields (2.0 kB)" in line) == ("note", True)


def test_broken_pipeline_is_one_line(project):
    (project / "dvc.yaml").write_text("stages: [")
    _, (level, line) = dvc_findings(project)
    assert (level, "dvc.yaml" in line, "\n" in line) == ("note", True, False)
