"""Real BigEarthNet images with several classes each: a user's table, a store, and a run with its record."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from own_data import write_card
from paths import REAL, needs_real
from real_imagery import L2A, bigearthnet
from tiny_store import tiny_spec

from deflect.data.prepare import prepare
from deflect.data.store import Store
from deflect.record import read_record
from deflect.trained.evaluate import evaluate
from deflect.training.run import train

SOURCE = REAL / "bigearthnet_s2"
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # published -> here

pytestmark = needs_real


@pytest.fixture(scope="module")
def facts() -> dict[str, dict]:
    """Published labels and split of each image."""
    return json.loads((SOURCE / "labels.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, dict]) -> Path:
    """The images as a user's own dataset with a table, some classes with commas in their names, and its store."""
    root = tmp_path_factory.mktemp("bigearthnet")
    raw = root / "raw"
    (raw / "images").mkdir(parents=True)
    with open(raw / "labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "label", "split"])
        for name, fact in facts.items():
            copy = shutil.copy(SOURCE / f"{name}.tif", raw / "images")
            with rasterio.open(copy, "r+") as image:  # these copies state 60 m, of another band
                image.transform = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
            table.writerow([name, "|".join(fact["labels"]), SPLITS[fact["split"]]])
    classes = sorted({label for fact in facts.values() for label in fact["labels"]})
    write_card(raw, task="multilabel", bands=L2A, classes=classes, labels="labels.csv", splits="column")
    prepare("multilabel", raw, root / "stores/multilabel")
    return root


def test_store_has_the_published_pixels_and_labels(root: Path, facts: dict[str, dict]) -> None:
    pixels = dict(zip(sorted(facts), bigearthnet()[0], strict=True))
    store = Store(root / "stores/multilabel")
    assert {split: part["n"] for split, part in store.card.splits.items()} == {"train": 13, "val": 6, "test": 6}
    for published, here in SPLITS.items():
        split = store.split(here)
        images, labels = split.batch(range(len(split)))
        for name, image, label in zip(split.ids, images.numpy(), labels.tolist(), strict=True):
            fact = facts[Path(name).stem]
            assert fact["split"] == published
            named = {known for known, present in zip(store.card.classes, label, strict=True) if present}
            assert named == set(fact["labels"])
            np.testing.assert_allclose(image, pixels[Path(name).stem], atol=1e-6)


def test_a_run_is_recorded_and_tested_again_with_the_same_bits(root: Path) -> None:
    train(tiny_spec(root, "multilabel", "deflect", epochs=4, batch_size=4, lr=5e-3))
    out = root / "runs/multilabel/scale_mae/deflect/seed0"
    record = read_record(out)
    assert (record["score"]["metric"], record["simulated"]) == ("mAP", False)
    assert 0 < record["score"]["value"] <= 1
    test = Store(root / "stores/multilabel").split("test")
    present = test.batch(range(len(test)))[1].numpy().any(axis=0)
    known = [value is not None for value in record["metrics"]["test"]["AP"].values()]
    assert known == present.tolist(), "a class that is in no test image has no average precision"
    assert evaluate(out, device="cpu").identical
