"""A shared folder gives back the model of the run, and its pages are true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_store import tiny_spec

import deflect
from deflect import cli
from deflect.data.store import Store
from deflect.gfms import build, gfm_card
from deflect.gfms.weights import save_weights
from deflect.training.run import train


def mini_weights(folder: Path) -> Path:
    """The weight file of a mini GFM with random weights."""
    card = gfm_card("scale_mae", "mini")
    torch.manual_seed(1)
    save_weights(build(card).state_dict(), card, folder / "scale_mae.safetensors", {"made": "by a test"})
    return folder / "scale_mae.safetensors"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each task, with its prepared data and weights."""
    root = tmp_path_factory.mktemp("runs")
    weights = mini_weights(root)
    specs = {
        "classification": tiny_spec(root, "classification", "deflect", weights=weights, epochs=1),
        "segmentation": tiny_spec(root, "segmentation", "lora", weights=weights, epochs=1),
    }
    for spec in specs.values():
        train(spec)
    return {task: spec.out for task, spec in specs.items()}


@pytest.fixture
def images(runs: dict[str, Path]) -> torch.Tensor:
    store = Path(json.loads((runs["classification"] / "record.json").read_text())["paths"]["store"])
    return Store(store).split("test").batch(range(10))[0]


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_a_shared_folder_predicts_as_the_run(runs: dict[str, Path], tmp_path: Path, images, task: str) -> None:
    folder = tmp_path / "shared"
    assert cli.main(["share", str(runs[task]), str(folder), "--with-gfm"]) == 0
    moved = shutil.move(folder, tmp_path / "moved")
    model = deflect.load(moved, device="cpu")
    assert torch.equal(model.predict(images), deflect.load_run(runs[task], device="cpu").predict(images))
    example = load_file(Path(moved) / "example.safetensors")
    assert torch.equal(model.predict(example["images"]), example["logits"])
