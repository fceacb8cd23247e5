"""Training that would give wrong results without notice must end in an error with its cause."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paths import HELPERS, ROOT
from safetensors.torch import load_file, save_file
from tiny_store import tiny_spec, tiny_store
from torch import Tensor

from deflect import cli
from deflect.config import load
from deflect.data.store import Store
from deflect.errors import ConfigError, DataError, ModelError
from deflect.files import read_json, write_json
from deflect.methods import load_adapter
from deflect.methods.deflect.model import DeflectedGFM
from deflect.record import read_record
from deflect.settings.training import TrainSettings
from deflect.trained.evaluate import evaluate
from deflect.training import loop
from deflect.training.checkpoint import Checkpoint
from deflect.training.context import Context
from deflect.training.grid import grid
from deflect.training.model import build_gfm, with_head
from deflect.training.outcomes import labels_once
from deflect.training.run import train
from deflect.training.scoring import score, windows


def test_weights_that_become_nan_in_the_last_step_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the last step is still finite; every prediction of NaN weights is class 0, which has a score."""
    original = loop.train_epoch

    def with_nan(parallel: Any, model: Any, split: Any, epoch: int, *rest: Any) -> float:
        loss = original(parallel, model, split, epoch, *rest)
        if epoch == 2:
            torch.nn.init.constant_(model.head.fc.weight, float("nan"))
        return loss

    monkeypatch.setattr(loop, "train_epoch", with_nan)
    spec = tiny_spec(tmp_path)
    with pytest.raises(ModelError, match="epoch 3, validation: expected a finite loss, found nan"):
        train(spec)
    assert not (spec.out / "record.json").exists()


def test_a_validation_split_without_labels_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "verify", lambda self: None)
    spec = tiny_spec(tmp_path, "segmentation")
    labels = np.load(spec.store / "val.labels.npy")
    np.save(spec.store / "val.labels.npy", np.full_like(labels, -1))
    with pytest.raises(ModelError, match="nothing has a label"):
        train(spec)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_other_arrays_under_the_same_card_are_refused(tmp_path: Path, split: str) -> None:
    spec = tiny_spec(tmp_path)
    train(spec)
    labels = np.load(spec.store / f"{split}.labels.npy")
    np.save(spec.store / f"{split}.labels.npy", labels[::-1])
    with pytest.raises(DataError, match="differs from the hash"):
        train(tiny_spec(tmp_path, out=tmp_path / "again"))
    with pytest.raises(DataError, match="differs from the hash"):
        evaluate(spec.out, device="cpu")


def test_a_head_that_differs_from_the_record_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every run is tested, even after an error, and the exit code is 1 if one fails."""
    spec = tiny_spec(tmp_path, epochs=1)
    train(spec)
    damaged, other = tmp_path / "damaged", tmp_path / "other"
    for copy in (damaged, other):
        shutil.copytree(spec.out, copy)
    (damaged / "head.safetensors").write_bytes(b"0" * 64)
    head = load_file(other / "head.safetensors")
    save_file({name: value.flip(0).contiguous() for name, value in head.items()}, other / "head.safetensors")
    record = read_json(other / "record.json")
    del record["files"]  # as of a version that did not hash them
    write_json(other / "record.json", record)
    assert cli.main(["evaluate", str(spec.out)]) == 0
    assert cli.main(["evaluate", str(damaged), str(other), str(tmp_path / "none"), str(spec.out)]) == 1
    printed = capsys.readouterr()
    assert "head.safetensors: changed since the run wrote it" in printed.err
    assert "none/record.json: this run has not finished" in printed.err
    assert "not the weights of the record" in printed.out
    assert "identical to the record" in printed.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"dataset": ["nowhere"]}, "--dataset: 'nowhere' is not in this study; it has so2sat, brick_kiln"),
        ({"seed": [7]}, "--seed: 7 is not in this study; it has 0"),
        ({"dataset": ["mados"], "method": ["deflect+soft"]}, "no run of this study has all that was chosen"),
    ],
)
def test_runs_that_a_study_does_not_have_are_an_error(chosen: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        grid(load(ROOT / "config.yaml", "mini"), chosen, "cpu", 1)


def test_a_pixel_counts_once_in_overlapping_windows() -> None:
    labels = torch.arange(2 * 80 * 80).view(2, 80, 80)
    cut, _ = windows(labels[:, None], 32)
    once = labels_once(labels, 32)
    assert len(once) == 9 * 2
    assert torch.equal(once[once != -1], cut[:, 0][once != -1])
    assert torch.equal(once[once != -1].sort().values, labels.flatten())


def test_deflection_is_computed_in_batches_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [], DeflectedGFM.deflection

    def counted(model: DeflectedGFM, image: Tensor) -> dict[str, Tensor]:
        seen.append(len(image))
        return original(model, image)

    monkeypatch.setattr(DeflectedGFM, "deflection", counted)
    tiny_store(tmp_path / "large", "segmentation", size=80)  # nine windows an image
    train(tiny_spec(tmp_path, "segmentation", "deflect", store=tmp_path / "large", epochs=1, eval_batch_size=4))
    assert sum(seen) % 9 == 0
    assert max(seen) <= 4


def test_a_finished_run_has_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(checkpoint: Checkpoint) -> None:
        raise KeyboardInterrupt

    spec = tiny_spec(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            train(spec)
    assert (spec.out / "checkpoint.pt").exists()
    train(spec)
    assert not (spec.out / "checkpoint.pt").exists()


# ---------------------------------------------------------------------- several processes

SEVERAL = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from deflect.training import run
from deflect.training.grid import train_all
from tiny_store import tiny_spec

root, disk, task, batch = Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
def full_disk(*args):
    raise OSError(28, "No space left on device")

if disk == "full" and os.environ["RANK"] == "0":
    run.save_tensors = full_disk
settings = {"epochs": 2, "dropout": 0.0, "batch_size": batch}
sys.exit(train_all([tiny_spec(root, task, seed=i, out=root / f"run{i}", **settings) for i in range(3)]))
"""


def two_processes(
    root: Path, *, disk: str = "", task: str = "classification", batch: int = 8
) -> subprocess.CompletedProcess[str]:
    """Train three runs, one after another, in two processes that torchrun starts."""
    script = root / "several.py"
    script.write_text(SEVERAL)
    tiny_spec(root, task)  # writes the store
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    command += [str(HELPERS), str(root), disk, task, str(batch)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_two_processes_train_several_runs_and_record_what_they_save(tmp_path: Path) -> None:
    """Batch statistics differ between processes; those that are saved must be those that were validated."""
    found = two_processes(tmp_path, task="segmentation")
    assert found.returncode == 0, found.stderr[-2000:]
    for run in range(3):
        record = read_record(tmp_path / f"run{run}")
        store = Store(Path(record["paths"]["store"]))
        context = Context(TrainSettings.from_dict(record["settings"]["training"]), record["seed"])
        gfm = build_gfm("scale_mae", None, "mini", store.card, context)
        model = with_head(load_adapter(gfm, tmp_path / f"run{run}"), store.card, context)
        model.head.load_state_dict(load_file(tmp_path / f"run{run}" / "head.safetensors"))
        again = score(model, store.split("val"), context).metrics["loss"]
        assert again == pytest.approx(record["metrics"]["val"]["loss"], rel=1e-6)


def test_one_failing_process_ends_all(tmp_path: Path) -> None:
    found = two_processes(tmp_path, disk="full")
    assert found.returncode != 0
    assert "No space left" in found.stderr


def test_fewer_images_than_processes_is_an_error(tmp_path: Path) -> None:
    found = two_processes(tmp_path, batch=1)
    assert found.returncode != 0
    assert "expected at least one image per process in a batch, found 1 for 2 processes" in found.stderr
