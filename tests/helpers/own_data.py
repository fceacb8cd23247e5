"""Writes small datasets in the formats of docs/your_own_dataset.md."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml

BANDS = ["B02", "B03", "B04", "B08"]
#: The splits of images 0, 1, 2, 3, 0, ...
SPLITS = ("train", "train", "val", "test")
CARD: dict[str, Any] = {
    "task": "classification",
    "sensor": "sentinel2",
    "bands": BANDS,
    "scale": 0.0001,
    "gsd": 10,
    "classes": ["field", "forest"],
    "labels": "folders",
    "splits": {"seed": 0, "fractions": [0.5, 0.25, 0.25]},
}


def write_tiff(path: Path, pixels: np.ndarray, names: list[str] | None = None, **profile: Any) -> None:
    """``pixels`` (C, H, W) as a GeoTIFF in UTM zone 32N at 10 m, band names if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    grid = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)} | profile
    kind = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **kind | grid) as file:
        file.write(pixels)
        if names is not None:
            file.descriptions = names


def image(index: int, size: int = 16, bands: int = len(BANDS)) -> np.ndarray:
    """Digital numbers, different for every index."""
    return np.random.default_rng(index).integers(300, 4000, (bands, size, size)).astype(np.uint16)


def write_card(folder: Path, **changes: Any) -> None:
    """``CARD`` with changes; a change to None removes the key."""
    folder.mkdir(parents=True, exist_ok=True)
    card = {key: value for key, value in (CARD | changes).items() if value is not None}
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))


def write_folders(folder: Path, per_class: int = 8, **changes: Any) -> None:
    write_card(folder, **changes)
    for label, title in enumerate(CARD["classes"]):
        for index in range(per_class):
            write_tiff(folder / title / f"{title}_{index}.tif", image(100 * label + index))


def write_table(folder: Path, n: int = 8, **changes: Any) -> None:
    """Images with a CSV of labels and splits."""
    write_card(folder, labels="labels.csv", splits="column", **changes)
    rows = [("image", "label", "split")]
    for index in range(n):
        write_tiff(folder / "images" / f"tile_{index}.tif", image(index))
        rows.append((f"tile_{index}.tif", CARD["classes"][index % 2], SPLITS[index % 4]))
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_masks(folder: Path, n: int = 8, **changes: Any) -> None:
    """Images with masks of 0, 1 and 255 (ignored), nodata 0, and split files."""
    splits = {split: f"{split}.txt" for split in SPLITS}
    write_card(folder, task="segmentation", labels="masks", ignore=255, nodata=0, splits=splits, **changes)
    names: dict[str, list[str]] = {split: [] for split in splits}
    for index in range(n):
        pixels = image(index)
        pixels[1, 0, 0] = 0
        mask = np.random.default_rng(index).integers(0, 2, (1, 16, 16)).astype(np.uint8)
        mask[0, 5, 5] = 255
        write_tiff(folder / "images" / f"tile_{index}.tif", pixels)
        write_tiff(folder / "masks" / f"tile_{index}.tif", mask)
        names[SPLITS[index % 4]].append(f"tile_{index}")
    for split, listed in names.items():
        (folder / f"{split}.txt").write_text("\n".join(listed) + "\n")
