"""Parts of a dataset that are prepared by processes of their own give the same store as one process."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from deflect.cli import main, parser
from deflect.data import shards
from deflect.data.disk import lock
from deflect.data.prepare import prepare, prepare_part

SCRIPT = """
import sys
from deflect.data import shards
from deflect.data.prepare import prepare_part
shards.SHARD_BYTES = 1
prepare_part("so2sat", sys.argv[1], sys.argv[2], int(sys.argv[3]), 3)
"""


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def whole(raw: Path, tmp_path: Path) -> dict[str, bytes]:
    prepare("so2sat", raw / "so2sat", tmp_path / "whole")
    return content(tmp_path / "whole")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The shards that this process writes, one image each."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    done: list[tuple[str, int, int]] = []
    write = shards.write_shard

    def noted(plan: shards.Plan, *shard: object) -> None:
        done.append(shard)  # type: ignore[arg-type]
        write(plan, *shard)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "write_shard", noted)
    return done


def test_parts_side_by_side_leave_nothing_to_write(
    raw: Path, tmp_path: Path, whole: dict[str, bytes], written: list[tuple[str, int, int]]
) -> None:
    arguments = [sys.executable, "-c", SCRIPT, str(raw / "so2sat"), str(tmp_path / "store")]
    processes = [subprocess.Popen([*arguments, str(part)]) for part in (1, 2, 3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert not (tmp_path / "store").exists()
    prepare("so2sat", raw / "so2sat", tmp_path / "store")
    assert written == []
    assert content(tmp_path / "store") == whole
    prepare_part("so2sat", raw / "so2sat", tmp_path / "store", 1, 3)
    assert not list(tmp_path.glob(".store.*.part")), "a part of a finished store starts nothing"


def test_what_parts_left_out_or_damaged_is_written(
    raw: Path, tmp_path: Path, whole: dict[str, bytes], written: list[tuple[str, int, int]]
) -> None:
    """Two machines that write to one page of a network file system may undo each other's rows."""
    prepare_part("so2sat", raw / "so2sat", tmp_path / "store", 1, 3)
    assert len(written) == 4  # of 11
    (aside,) = tmp_path.glob(".store.*.part")
    images = np.load(aside / "train.images.npy", mmap_mode="r+")
    images[written[1][1], 0, 0, 0] += 1
    images.flush()
    damaged, written[:] = written[1], []
    prepare("so2sat", raw / "so2sat", tmp_path / "store")
    assert damaged in written
    assert len(written) == 8
    assert content(tmp_path / "store") == whole


def test_parts_are_counted_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser().parse_args(["data", "prepare", "fields", "--part", "2/8"]).part == (2, 8)
    for text in ("0/8", "9/8", "2", "2/", "1/-3", "a/b"):
        with pytest.raises(SystemExit):
            main(["data", "prepare", "fields", "--part", text])
        assert f"expected K/N with K from 1 to N, such as 2/8, found {text!r}" in capsys.readouterr().err


def test_a_store_is_finished_by_one_process_while_no_part_is_written(tmp_path: Path) -> None:
    entered = threading.Event()

    def alone() -> None:
        with lock(tmp_path, "store"):
            entered.set()

    finisher = threading.Thread(target=alone)
    with lock(tmp_path, "store", shared=True), lock(tmp_path, "store", shared=True):
        finisher.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    finisher.join()
