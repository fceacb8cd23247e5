"""Processes on a machine with several GPUs take different ones."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import torch

from deflect.training.context import choose_device
from deflect.training.gpus import free_gpu

TAKE = "import sys; from deflect.training.gpus import take_one; print(take_one(['a', 'b', 'c']), flush=True); input()"


def start(folder: Path) -> subprocess.Popen:
    environment = os.environ | {"TMPDIR": str(folder)}
    return subprocess.Popen([sys.executable, "-c", TAKE], env=environment, stdin=-1, stdout=-1, text=True)


def test_processes_spread_over_the_gpus_and_leave_them_when_they_end(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(4)]
    try:
        taken = [int(process.stdout.readline()) for process in processes]
        assert sorted(Counter(taken).values()) == [1, 1, 2]
        alone = taken.index(next(number for number in taken if taken.count(number) == 1))
        processes[alone].kill()
        processes[alone].wait()
        processes.append(start(tmp_path))
        assert int(processes[-1].stdout.readline()) == taken[alone], "the place of a killed process is free"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_run_starts_where_no_gpu_can_be_reserved(tmp_path: Path, monkeypatch, caplog) -> None:
    """Here the folder of the locks is another user's, or a file."""
    (tmp_path / f"deflect-gpus-{os.getuid()}").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=number))
    free_gpu.cache_clear()
    assert free_gpu() == 0
    free_gpu.cache_clear()
    assert "--device cuda:N" in caplog.text


def test_a_named_device_takes_no_place(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert choose_device("cpu").type == "cpu"
    assert not list(tmp_path.iterdir())
