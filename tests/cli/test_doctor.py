"""``deflect doctor`` refuses the DVC setting that gives stale results."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deflect.cli.doctor import dvc_cache


@pytest.mark.parametrize(("kind", "level"), [(None, "ok"), ("copy", "ok"), ("symlink", "error"), ("hardlink", "error")])
def test_linked_cache_is_an_error_with_its_remedy(tmp_path, kind, level):
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    if kind:
        subprocess.run([*dvc, "config", "cache.type", kind], cwd=tmp_path, check=True)
    found, line = dvc_cache(tmp_path)
    assert found == level
    assert (found != "error") or "dvc config --unset cache.type" in line
