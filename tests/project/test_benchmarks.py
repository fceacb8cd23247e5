"""The benchmarks run; what they measure is not looked at here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

SMALL = {
    "packing.py": ["--gfms", "scale_mae", "--at-a-time", "2", "--runs", "2", "--images", "16", "--pixels", "48"],
    "predict.py": ["--large", "0", "--rounds", "0"],
    "size.py": ["--images", "20", "40"],
    "steps.py": ["--sizes", "S16", "--batch", "1", "--rounds", "1"],
}


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_timed_step_is_one_of_training(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from steps import trainee

    one = trainee("S16", "bitfit", 1, "cpu", task)
    before = {name: value.clone() for name, value in one.model.named_parameters() if value.requires_grad}
    one.step()
    assert all(not value.equal(before[name]) for name, value in one.model.named_parameters() if name in before)


@pytest.mark.slow
@pytest.mark.parametrize("script", SMALL)
def test_small_benchmark_prints_a_table(script: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *SMALL[script]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| ---" in done.stdout or script == "predict.py"
