"""A tiny run on GeoTIFFs, and scenes to predict with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from own_data import write_tiff
from tiny_store import tiny_spec

from deflect.data.prepare import prepare
from deflect.training.run import train
from deflect.training.spec import RunSpec

BANDS = ["B02", "B03", "B04", "B08"]
SCALE, OFFSET, NODATA = 1e-4, -1000, 0


def pixels(seed: int, height: int, width: int) -> np.ndarray:
    """Digital numbers (4, height, width) of fields whose classes differ in the near infrared."""
    random = np.random.default_rng(seed)
    fields = random.integers(0, 3, (height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)[:height, :width]
    numbers = random.normal(2000, 150, (4, height, width))
    numbers[3] += 1500 * fields
    return numbers.round().astype(np.uint16)


def truth(numbers: np.ndarray) -> np.ndarray:
    return ((numbers[3].astype(int) - 1250) // 1500).clip(0, 2).astype(np.uint8)


def write_dataset(folder: Path, task: str, size: int, n: int = 12) -> None:
    """``n`` images with masks or a table of labels; image 3, of the test split, has gaps."""
    names = ["bare", "crop", "forest"]
    rows = ["image,label,split"]
    for index in range(n):
        numbers = pixels(index, size, size)
        label = index % 3
        if task == "classification":
            numbers[3] = pixels(100 + index, size, size)[0] + 1500 * label
        if index == 3:
            numbers[:, :5, :9] = NODATA
            numbers[2, 12:20, 20:30] = NODATA
        write_tiff(folder / f"images/tile_{index}.tif", numbers, names=BANDS)
        split = ("train", "train", "val", "test")[index % 4]
        rows.append(f"tile_{index},{names[label]},{split}")
        if task == "segmentation":
            write_tiff(folder / f"masks/tile_{index}.tif", truth(numbers)[None])
    card: dict[str, Any] = {"task": task, "sensor": "sentinel2", "bands": BANDS, "scale": SCALE, "offset": OFFSET}
    card |= {"nodata": NODATA, "gsd": 10, "classes": names}
    if task == "segmentation":
        lists = {
            split: [i for i in range(n) if ("train", "train", "val", "test")[i % 4] == split]
            for split in ("train", "val", "test")
        }
        for split, listed in lists.items():
            (folder / f"{split}.txt").write_text("".join(f"tile_{i}\n" for i in listed))
        card |= {"labels": "masks", "splits": {split: f"{split}.txt" for split in lists}}
    else:
        (folder / "labels.csv").write_text("\n".join(rows) + "\n")
        card |= {"labels": "labels.csv", "splits": "column"}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))


def tiny_run(root: Path, task: str, size: int, **changes: Any) -> RunSpec:
    """A finished run on images of ``size`` pixels under ``root``; the network's input has 32."""
    write_dataset(root / "raw", task, size)
    prepare("own", root / "raw", root / "store")
    spec = tiny_spec(root, task, store=root / "store", epochs=6, lr=1e-2, eval_batch_size=4, **changes)
    train(spec)
    return spec
