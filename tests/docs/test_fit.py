"""docs/fit.md runs as it is written, on small simulated files in EuroSAT's layout."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from own_data import write_tiff
from paths import ROOT
from torchgeo.datasets import EuroSAT

from deflect.analysis.notebook import execute

CLASSES = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial")
CLASSES += ("Pasture", "PermanentCrop", "Residential", "River", "SeaLake")


def write_eurosat(root: Path, per_class: int = 4) -> None:
    """Digital numbers whose near infrared (B08) differs by class; every fourth image is for validation."""
    near_infrared = EuroSAT.all_band_names.index("B08")
    for label, title in enumerate(CLASSES):
        for index in range(per_class):
            pixels = np.random.default_rng([label, index]).normal(1500, 100, (13, 64, 64))
            pixels[near_infrared] += 300 * label
            name = f"{title}_{index + 1}"
            write_tiff(root / EuroSAT.base_dir / title / f"{name}.tif", pixels.astype(np.uint16))
            split = "val" if index == per_class - 1 else "train"
            with open(root / EuroSAT.split_filenames[split], "a") as file:
                file.write(f"{name}.jpg\n")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_eurosat(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    parameters = {"root": "data", "vit": "vit_tiny_patch16_224", "pretrained": False, "epochs": 6, "lr": 0.01}
    execute(ROOT / "docs/fit.md", tmp_path / "fit.ipynb", parameters)
    cells = [cell for cell in nbformat.read(tmp_path / "fit.ipynb", 4).cells if cell.cell_type == "code"]
    loop, lightning, torchgeo = (str(cells[place].outputs) for place in (3, 5, 6))  # one holds the test's parameters
    found = [float(re.search(r"accuracy'?[ :]+(?:tensor\()?([\d.]+)", text)[1]) for text in (loop, lightning)]
    print(found)
    assert min(found) > 0.15, "ten classes that the near infrared tells apart"
    assert "eval mode" not in lightning + torchgeo
    assert "val_OverallAccuracy" in torchgeo
