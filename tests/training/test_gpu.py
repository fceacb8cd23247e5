"""Training on a GPU compared with the same run on the CPU: `pytest -m gpu`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_store import tiny_spec

from deflect.settings import METHODS
from deflect.training.run import train

#: DEFLECT_TEST_DEVICE=cpu runs these tests without a GPU.
DEVICE = os.environ.get("DEFLECT_TEST_DEVICE", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"),
]


def trained(root: Path, device: str, **changes: Any) -> dict[str, Any]:
    return train(tiny_spec(root / device, device=device, **changes))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_float32_training_follows_the_cpu(tmp_path: Path, task: str, method: str) -> None:
    """Windows, pinned batches and cached features give the CPU's losses except for rounding."""
    changes = {"task": task, "method": method, "crop": "focus", "image_size": 16, "epochs": 1, "dropout": 0.0}
    here, there = (trained(tmp_path, device, **changes) for device in ("cpu", DEVICE))
    assert there["device"]["type"] == DEVICE
    assert there["metrics"]["val"]["loss"] == pytest.approx(here["metrics"]["val"]["loss"], rel=0.05)


@pytest.mark.parametrize("task", ["multilabel", "regression", "pixel_regression"])
@pytest.mark.parametrize("method", ["deflect", "frozen"])
def test_the_other_tasks_follow_the_cpu(tmp_path: Path, task: str, method: str) -> None:
    changes = {"task": task, "method": method, "image_size": 16, "epochs": 1, "dropout": 0.0}
    here, there = (trained(tmp_path, device, **changes) for device in ("cpu", DEVICE))
    assert there["metrics"]["val"]["loss"] == pytest.approx(here["metrics"]["val"]["loss"], rel=0.05)


@pytest.mark.parametrize("task", ["classification", "segmentation", "multilabel"])
def test_class_weights_and_focal_loss_follow_the_cpu(tmp_path: Path, task: str) -> None:
    changes = {"task": task, "image_size": 16, "epochs": 1, "dropout": 0.0, "focal_gamma": 2.0}
    changes |= {"class_weights": "balanced"}
    here, there = (trained(tmp_path, device, **changes) for device in ("cpu", DEVICE))
    assert there["metrics"]["val"]["loss"] == pytest.approx(here["metrics"]["val"]["loss"], rel=0.05)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", ["deflect", "lora", "frozen", "full"])
def test_half_precision_trains(tmp_path: Path, method: str, precision: str) -> None:
    record = trained(tmp_path, DEVICE, method=method, precision=precision, gradient_checkpointing=method == "full")
    assert 0 <= record["score"]["value"] <= 1
    assert torch.isfinite(torch.tensor(record["metrics"]["test"]["loss"]))
