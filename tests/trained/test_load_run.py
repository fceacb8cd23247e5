"""A run as a model: equal to the test of the run, and independent of prepared data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from page_code import python_blocks
from tiny_store import tiny_spec

import deflect
from deflect.data.store import Store
from deflect.errors import ModelError
from deflect.files import write_json
from deflect.record import read_record
from deflect.training.run import train


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_predictions_are_those_of_the_run(tmp_path: Path, task: str) -> None:
    spec = tiny_spec(tmp_path, task, "deflect")
    train(spec)
    images, _ = Store(spec.store).split("test").batch(range(10))
    with np.load(spec.out / "predictions.npz") as arrays:
        found = dict(arrays)
    shutil.rmtree(spec.store)
    threads = torch.get_num_threads()
    torch.set_num_threads(spec.threads)
    try:
        model = deflect.load_run(spec.out, device="cpu")
        logits = model.predict(images)
    finally:
        torch.set_num_threads(threads)
    (code,) = python_blocks("docs/using.md", "A run in Python")
    exec(code.replace("results/mini/runs/so2sat/scale_mae/deflect/seed0", str(spec.out)), page := {"images": images})
    assert page["logits"].shape == logits.shape
    assert (model.images.task, model.images.gsd, model.image_size) == (task, 10, 32)
    assert model.images.classes == tuple(read_record(spec.out)["classes"])
    if task == "classification":
        assert torch.equal(logits.softmax(1).half(), torch.from_numpy(found["probabilities"]))
    else:
        sample = [int(name.removeprefix("test")) for name in found["sample_ids"]]
        assert np.array_equal(logits.argmax(1)[sample].numpy(), found["sample_predictions"])


def test_a_record_of_an_older_version(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, method="frozen")
    record = train(spec)
    del record["images"]
    (spec.out / "record.json").unlink()
    write_json(spec.out / "record.json", record, seal=True)
    with pytest.raises(ModelError, match=r"without the entry images; delete the run's folder and train it again"):
        deflect.load_run(spec.out)
