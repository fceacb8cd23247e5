"""Pages of multi-label and regression datasets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from good_store import CLASSES, SIZE, good
from tiny_store import BANDS, write_store

from deflect.checking.check import check
from deflect.data import card
from deflect.data.store import Store


def page(folder: Path, task: str, labels: dict[str, np.ndarray], classes: list[str], **facts: Any) -> tuple[str, str]:
    """What is suspicious in good images with other labels, and the page."""
    store = write_store(folder / "store", good(), BANDS, CLASSES, gsd=10.0)
    for split, array in labels.items():
        np.save(store.folder / f"{split}.labels.npy", array)
    card.write_card(store.folder, replace(store.card, task=task, classes=tuple(classes), **facts))
    checked = check(Store(store.folder), folder / "raw", folder / "page.html")
    return " ".join(f.found for one in checked for f in one.findings), (folder / "page.html").read_text()


def test_positives_of_each_label_are_shown(tmp_path: Path) -> None:
    labels = {}
    for split, (_, classes) in good().items():
        both = np.arange(len(classes)) % 3 == 0
        labels[split] = np.stack([classes == 0, classes == 1, both], axis=1).astype(np.uint8)
    labels["val"][:, 2] = 0
    labels["test"][:8] = 0
    said, shown = page(tmp_path, "multilabel", labels, ["plants", "soil", "road"], metric="mAP")
    assert "val has no label of road" in said
    assert "20 % of the images of test have none of the 3 labels" in said
    assert ">20 (33 %)</td>" in shown
    assert "plants, road" in shown


def test_the_target_of_a_regression_is_shown_and_its_shift_found(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = {split: random.normal(50, 10, len(each)).astype(np.float32) for split, (_, each) in good().items()}
    labels["test"] += 30
    facts = {"metric": "R2", "target": (50.0, 10.0)}
    said, shown = page(tmp_path, "regression", labels, ["biomass (t/ha)"], **facts)
    assert said.startswith("The target is larger in test than in train by 3.")
    assert said.count("target") == 1
    assert "biomass (t/ha), mean and standard deviation: train" in shown
    assert "not checked (labels are numbers, not classes)" in shown


def test_maps_of_a_target_are_shown(tmp_path: Path) -> None:
    labels = {}
    for split, (_, classes) in good().items():
        labels[split] = (classes[:, None, None] + np.zeros((1, SIZE, SIZE))).astype(np.float32)
        labels[split][:, :2] = np.nan
    facts = {"metric": "R2", "target": (0.5, 0.5)}
    said, shown = page(tmp_path, "pixel_regression", labels, ["canopy height (m)"], **facts)
    assert said == ""
    assert "then the labels" in shown
    assert shown.count('class="shot"') == 8
