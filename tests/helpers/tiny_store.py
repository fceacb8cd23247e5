"""A tiny prepared store whose classes or numbers differ in the near infrared only, and runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandSet, BandStatistics, bandset
from deflect.data.card import PARTS, StoreCard, hash_name, write_card
from deflect.data.store import Store
from deflect.files import sha256_file
from deflect.settings import METRICS, REGRESSIONS
from deflect.settings.training import TrainSettings
from deflect.training.spec import RunSpec

BANDS = bandset("sentinel2", ["B02", "B03", "B04", "B08", "B11", "B12"])
SIZES = {"train": 24, "val": 12, "test": 10}


def tiny_store(
    folder: Path, task: str, size: int = 32, classes: int = 3, sizes: dict[str, int] = SIZES, bands: BandSet = BANDS
) -> Store:
    """Write a store. Segmentation maps have stripes and unlabelled pixels, and lack the last class.

    In a multilabel each of up to three classes has a band of its own. Numbers of a regression are around 100 t/ha.
    """
    random = np.random.default_rng(0)
    names = ["biomass (t/ha)"] if task in REGRESSIONS else [f"class{i}" for i in range(classes)]
    splits = {}
    for split, n in sizes.items():
        labels = np.arange(n) % classes
        maps = np.broadcast_to(labels[:, None, None], (n, size, size))
        if task == "segmentation":
            stripe = np.arange(size) * (classes - 1) // size
            maps = (labels[:, None, None] + stripe[None, :, None] + np.zeros((1, 1, size), int)) % (classes - 1)
        images = random.normal(0.2, 0.02, (n, len(bands), size, size)).astype(np.float32)
        stored = labels.astype(np.int64) if task == "classification" else maps.astype(np.int8)
        if task == "segmentation":
            stored[:, :2] = -1
        if task in REGRESSIONS:
            maps = random.random((n, 1, 1)) * np.ones((1, size, size))
            maps = maps + np.linspace(-0.5, 0.5, size) * (task == "pixel_regression")
            stored = (100 + 20 * (maps if task == "pixel_regression" else maps[:, 0, 0])).astype(np.float32)
        if task == "pixel_regression":
            stored[:, :2] = np.nan
        if task == "multilabel":
            stored = (np.arange(n)[:, None] % np.arange(2, classes + 2) == 0).astype(np.uint8)
            for band, present in zip(("B08", "B11", "B12"), stored.T, strict=False):
                images[:, bands.channel(band)] += 0.15 * present[:, None, None]
        else:
            images[:, bands.channel("B08")] += 0.15 * maps
        splits[split] = images, stored
    return write_store(folder, splits, bands, names, gsd=10.0, task=task)


def write_store(
    folder: Path,
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    bands: BandSet,
    classes: Sequence[str],
    gsd: float,
    simulated: bool = True,
    task: str | None = None,
) -> Store:
    """Write reflectance (N, C, S, S) and labels (N,) or (N, S, S) of every split as a prepared store.

    ``task``: by default classification or segmentation, by the shape of the labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {}
    for split, (images, labels) in splits.items():
        np.save(folder / f"{split}.images.npy", images)
        np.save(folder / f"{split}.labels.npy", labels)
        (folder / f"{split}.ids.txt").write_text("".join(f"{split}{i}\n" for i in range(len(images))))
        facts[split] = {
            "n": len(images),
            **{hash_name(part): sha256_file(folder / f"{split}.{part}") for part in PARTS},
        }
    train, labels = splits["train"]
    task = task or ("segmentation" if labels.ndim == 3 else "classification")
    card = StoreCard(
        name=folder.name,
        task=task,
        bands=bands,
        classes=tuple(classes),
        image_size=train.shape[-1],
        gsd=gsd,
        scale=1.0,
        metric=METRICS[task],
        splits=facts,
        statistics=BandStatistics(*(tuple(map(float, f(train, axis=(0, 2, 3)))) for f in (np.mean, np.std))),
        simulated=simulated,
        source="tests",
        target=(float(np.nanmean(labels)), float(np.nanstd(labels))) if task in REGRESSIONS else None,
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
