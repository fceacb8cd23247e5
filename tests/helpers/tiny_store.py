"""A tiny prepared store whose classes differ in the near infrared only, and runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandSet, BandStatistics, bandset
from deflect.data.card import PARTS, StoreCard, hash_name, write_card
from deflect.data.store import Store
from deflect.files import sha256_file
from deflect.settings.training import TrainSettings
from deflect.training.spec import RunSpec

BANDS = bandset("sentinel2", ["B02", "B03", "B04", "B08", "B11", "B12"])
SIZES = {"train": 24, "val": 12, "test": 10}


def tiny_store(
    folder: Path, task: str, size: int = 32, classes: int = 3, sizes: dict[str, int] = SIZES, bands: BandSet = BANDS
) -> Store:
    """Write a store. Segmentation maps have stripes and unlabelled pixels, and lack the last class."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    splits = {}
    for split, n in sizes.items():
        labels = np.arange(n) % classes
        maps = np.broadcast_to(labels[:, None, None], (n, size, size))
        if task == "segmentation":
            stripe = np.arange(size) * (classes - 1) // size
            maps = (labels[:, None, None] + stripe[None, :, None] + np.zeros((1, 1, size), int)) % (classes - 1)
        images = random.normal(0.2, 0.02, (n, len(bands), size, size)).astype(np.float32)
        images[:, bands.channel("B08")] += 0.15 * maps
        stored = labels.astype(np.int64) if task == "classification" else maps.astype(np.int8)
        if task == "segmentation":
            stored[:, :2] = -1
        np.save(folder / f"{split}.images.npy", images)
        np.save(folder / f"{split}.labels.npy", stored)
        (folder / f"{split}.ids.txt").write_text("".join(f"{split}{i}\n" for i in range(n)))
        hashes = {hash_name(part): sha256_file(folder / f"{split}.{part}") for part in PARTS}
        splits[split] = {"n": n, **hashes}
    train = np.load(folder / "train.images.npy")
    statistics = BandStatistics(*(tuple(map(float, f(train, axis=(0, 2, 3)))) for f in (np.mean, np.std)))
    card = StoreCard(
        name=folder.name,
        task=task,
        bands=bands,
        classes=tuple(f"class{i}" for i in range(classes)),
        image_size=size,
        gsd=10.0,
        scale=1.0,
        metric="f1_macro" if task == "classification" else "mIoU",
        splits=splits,
        statistics=statistics,
        simulated=True,
        source="tests",
    )
    write_card(folder, card)
    return Store(folder)


def tiny_spec(root: Path, task: str = "classification", method: str = "lora", **changes: Any) -> RunSpec:
    """A run of a few seconds with a mini GFM of random weights on the tiny store under ``root``.

    ``changes`` are fields of ``TrainSettings`` or of ``RunSpec``.
    """
    store = root / "stores" / task
    if not store.exists():
        tiny_store(store, task)
    settings = {"image_size": 32, "epochs": 3, "lr": 1e-3, "checkpoint_minutes": 0}
    settings |= {"upernet_channels": 8, "calibration_images": 16}
    settings |= {name: changes.pop(name) for name in list(changes) if name in TrainSettings.model_fields}
    spec = {"study": "mini", "dataset": task, "gfm": "scale_mae", "method": method, "seed": 0, "gfm_size": "mini"}
    spec |= {"device": "cpu", "threads": 1, "out": root / "runs" / task / "scale_mae" / method / "seed0"}
    return RunSpec(**{**spec, "store": store, "training": TrainSettings(**settings), **changes})
