"""A killed run resumes from its last epoch with the result of an unkilled one; a finished run is not repeated."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from paths import HELPERS
from tiny_store import tiny_spec

from deflect.errors import DataError
from deflect.record import read_record
from deflect.settings.training import TrainSettings
from deflect.training.checkpoint import Checkpoint
from deflect.training.run import train
from deflect.training.spec import RunSpec

SETTINGS = {"task": "segmentation", "method": "deflect", "epochs": 12}
CHILD = """
import logging, sys
logging.basicConfig(level=logging.INFO)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tiny_store import tiny_spec
from deflect.record import read_record
from deflect.training.run import train
print("ready", flush=True)
train(tiny_spec(Path(sys.argv[2]), task="segmentation", method="deflect", epochs=12))
"""


def outcome(record: dict, folder: Path) -> tuple:
    """The results of a run that must not change when it is killed: all but times and memory."""
    rows = [line.rsplit(",", 1)[0] for line in (folder / "history.csv").read_text().splitlines()]
    weights = [(folder / f"{name}.safetensors").read_bytes() for name in ("adapter", "head")]
    keys = ("metrics", "score", "confusion", "best_epoch", "epochs", "fingerprint", "parameters")
    return {key: record[key] for key in keys}, rows, weights


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    spec = tiny_spec(tmp_path_factory.mktemp("unkilled"), **SETTINGS)
    return outcome(train(spec), spec.out)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)


def test_sigkill_at_a_random_moment(tmp_path: Path, unkilled: tuple) -> None:
    spec = tiny_spec(tmp_path, **SETTINGS)
    command = [sys.executable, "-c", CHILD, str(HELPERS), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for(spec.out / "checkpoint.pt", process)
    time.sleep(random.uniform(0, 1))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (spec.out / "checkpoint.pt").exists() is not (spec.out / "record.json").exists()
    assert outcome(train(spec), spec.out) == unkilled
    assert not (spec.out / "checkpoint.pt").exists()
    assert not [path for path in spec.out.iterdir() if path.name.startswith(".")]  # no half-written file is left


def test_a_second_start_waits_for_the_first(tmp_path: Path, unkilled: tuple) -> None:
    tiny_spec(tmp_path, **SETTINGS)
    command = [sys.executable, "-c", CHILD, str(HELPERS), str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    messages = "".join(process.communicate(timeout=120)[1] for process in started)
    assert [process.returncode for process in started] == [0, 0]
    assert len(re.findall(r"seed0: waiting for process \d+ on \S+, which works on it", messages)) == 1
    assert messages.count("epoch 12/12") == 1
    out = tiny_spec(tmp_path, **SETTINGS).out
    assert outcome(read_record(out), out) == unkilled


def killed(spec: RunSpec, where: object, name: str, function: Callable) -> None:
    """Train until ``where.name``, replaced by ``function``, interrupts the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, function)
        with pytest.raises(KeyboardInterrupt):
            train(spec)


def test_killed_in_every_epoch(tmp_path: Path, unkilled: tuple) -> None:
    """Without new processes: killed before each checkpoint, and again right after it."""
    spec, save = tiny_spec(tmp_path, **SETTINGS), Checkpoint.save
    reached: list[int] = []

    def before(self: Checkpoint, state: dict) -> None:
        reached.append(len(state["fit"]["history"]))
        raise KeyboardInterrupt

    def after(self: Checkpoint, state: dict) -> None:
        save(self, state)
        before(self, state)

    for _ in range(12):
        killed(spec, Checkpoint, "save", before)
        killed(spec, Checkpoint, "save", after)
    assert reached == [epoch for epoch in range(1, 13) for _ in range(2)]
    assert outcome(train(spec), spec.out) == unkilled


def test_killed_while_files_are_moved(tmp_path: Path) -> None:
    spec, replace, moved = tiny_spec(tmp_path), os.replace, []

    def die(source: Path, target: Path) -> None:
        if Path(target).parent == spec.out and Path(target).suffix != ".pt":
            moved.append(target)
            if len(moved) == 3:
                raise KeyboardInterrupt
        replace(source, target)

    killed(spec, os, "replace", die)
    assert len(moved) == 3
    assert not (spec.out / "record.json").exists()
    assert (spec.out / "checkpoint.pt").exists()
    for name in (".part-left", ".checkpoint.pt.1.part"):  # what SIGKILL leaves
        (spec.out / name).mkdir() if name.startswith(".part") else (spec.out / name).touch()
    assert train(spec)["epochs"] == 3
    assert not [path for path in spec.out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damaged_or_foreign_checkpoint_is_ignored_with_a_message(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    mine, another = (Checkpoint(path, name, TrainSettings()) for name in ("mine", "another"))
    assert mine.load() is None
    assert "damaged" in capsys.readouterr().err
    another.save({"epoch": torch.tensor(1)})
    assert mine.load() is None
    assert "another configuration" in capsys.readouterr().err
    assert another.load()["epoch"] == 1


def test_a_flipped_bit_in_a_checkpoint_is_refused_or_harmless(tmp_path: Path) -> None:
    """torch writes a checksum of every part but does not check it."""
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "mine", TrainSettings())
    checkpoint.save({"model": {"weight": torch.linspace(0, 1, 100)}, "fit": {"best_score": 0.25}})
    whole, good, refused = checkpoint.path.read_bytes(), checkpoint.load(), 0
    for place in random.Random(0).sample(range(8 * len(whole)), 400):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        checkpoint.path.write_bytes(flipped)
        found = checkpoint.load()
        refused += found is None
        if found is not None:
            assert found["fit"] == good["fit"]
            assert torch.equal(found["model"]["weight"], good["model"]["weight"])
    assert refused > 200


def test_checkpoints_have_a_minimum_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "mine", TrainSettings(checkpoint_every=2, checkpoint_minutes=5))
    now = time.monotonic()
    for minutes, due in ((4.9, False), (5.1, True)):
        monkeypatch.setattr(time, "monotonic", lambda later=60 * minutes: now + later)
        assert [checkpoint.due(epoch) for epoch in range(4)] == [False, due, False, due]
    checkpoint.save({})
    assert not checkpoint.due(1)


def test_no_room_for_a_checkpoint_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "mine", TrainSettings())
    checkpoint.save({"epoch": 1})
    with pytest.raises(DataError, match="of room needed"):
        checkpoint.save({"model": torch.empty(1 << 50, device="meta")})
    assert checkpoint.load()["epoch"] == 1


def test_checkpoint_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"fingerprint": "mine", "evil": Evil()}, tmp_path / "checkpoint.pt")
    assert Checkpoint(tmp_path / "checkpoint.pt", "mine", TrainSettings()).load() is None
    assert not (tmp_path / "executed").exists()
    capsys.readouterr()


def test_changed_setting_trains_again_and_finished_run_is_skipped(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path)
    first = train(spec)
    path = spec.out / "record.json"
    os.utime(path, (0, 0))
    assert train(spec) == first
    assert path.stat().st_mtime > 0  # touched: a workflow sees the run as done now
    assert train(tiny_spec(tmp_path, checkpoint_every=0)) == first  # nothing that changes the result
    other = train(tiny_spec(tmp_path, epochs=2))
    assert other["epochs"] == 2
    assert other["fingerprint"] != first["fingerprint"]
