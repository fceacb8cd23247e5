"""A tiny run on GeoTIFFs, and scenes to predict with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from own_data import SPLITS, write_tiff
from tiny_store import tiny_spec

from deflect.data.prepare import prepare
from deflect.training.run import train
from deflect.training.spec import RunSpec

BANDS = ["B02", "B03", "B04", "B08"]
CLASSES = ["bare", "crop", "forest"]
NODATA = 0


def numbers(seed: int, height: int, width: int) -> np.ndarray:
    """Digital numbers (4, height, width) of square fields whose classes differ in the near infrared."""
    random = np.random.default_rng(seed)
    fields = random.integers(0, 3, (height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)[:height, :width]
    pixels = random.normal(2000, 150, (4, height, width))
    pixels[3] += 1500 * fields
    return pixels.round().astype(np.uint16)


def write_dataset(folder: Path, task: str, size: int, n: int = 12) -> None:
    """Images with masks or a table of labels; image 3, of the test split, has gaps."""
    rows = ["image,label,split"]
    for index in range(n):
        pixels = numbers(index, size, size)
        if task == "classification":
            pixels[3] = pixels[0] + 1500 * (index % 3)
        if index == 3:
            pixels[:, :5, :9] = NODATA
            pixels[2, 12:20, 15:20] = NODATA
        write_tiff(folder / f"images/tile_{index}.tif", pixels, names=BANDS)
        if task == "segmentation":
            mask = ((pixels[3].astype(int) - 1250) // 1500).clip(0, 2).astype(np.uint8)
            write_tiff(folder / f"masks/tile_{index}.tif", mask[None])
        rows.append(f"tile_{index}.tif,{CLASSES[index % 3]},{SPLITS[index % 4]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    splits = {split: f"{split}.txt" for split in SPLITS}
    for split, name in splits.items():
        members = [f"tile_{index}" for index in range(n) if SPLITS[index % 4] == split]
        (folder / name).write_text("\n".join(members) + "\n")
    labels = "masks" if task == "segmentation" else "labels.csv"
    card: dict[str, Any] = {"task": task, "sensor": "sentinel2", "bands": BANDS, "scale": 1e-4, "offset": -1000}
    card |= {"nodata": NODATA, "gsd": 10, "classes": CLASSES, "labels": labels, "splits": splits}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))


def tiny_run(root: Path, task: str, size: int) -> RunSpec:
    """A finished run on images of ``size`` pixels in ``root``/raw; the network's input has 32."""
    write_dataset(root / "raw", task, size)
    prepare("own", root / "raw", root / "store")
    spec = tiny_spec(root, task, store=root / "store", epochs=6, lr=1e-2, eval_batch_size=4)
    train(spec)
    return spec
