"""Write SIMULATED samples in the on-disk format of GEO-Bench v1: So2Sat, Brick Kiln, ForestNet and BigEarthNet.

    <sample>.hdf5                  one 2-D dataset per band; root attribute `pickle`, the text of a pickled dict
    default_partition.json         {"train": [ids], "valid": [ids], "test": [ids]}; 1.00x_train_partition.json is equal
    0.10x_train_partition.json     the same with 10 % of the training split, drawn at random; so for other fractions
    band_stats.json                per band, and for the label, extrema, moments and percentiles of the training split
    label_map.json                 {label: [ids]}, only where the original has it
    label_stats.json               {id: [0 or 1 per class]}, the same of several classes per image
    task_specs.pkl                 for GEO-Bench's loader: bands, classes, size of an image

The pickles hold objects of classes of the GEO-Bench package, which is not needed to write them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from deflect.data.simulate.geobench_objects import LABEL_STATS, StoredBand, pickled, task
from deflect.files import write_json

#: Of the training split, in separate partitions.
_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_PERCENTILES = (0.1, 1, 5, 95, 99, 99.9)


@dataclass(frozen=True)
class Sample:
    """One sample: bands (B, H, W) in the order and unit of the file; ``crs`` is an EPSG code."""

    id: str
    label: int | np.ndarray  # a class, or int64 (K,) of 0 and 1
    data: np.ndarray
    date: datetime.date | None = None
    meta: dict[str, Any] | None = None
    transform: tuple[float, ...] | None = None
    crs: int | None = None


def write(folder: Path, samples: Iterable[tuple[str, Sample]], dataset: ModuleType, pixels: int) -> None:
    """Write all samples, each given with its split, and the files that describe them.

    ``dataset`` is the module of the dataset, ``pixels`` the side of an image.
    """
    bands = dataset.STORED
    partition: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    labels: dict[str, int | np.ndarray] = {}
    train_pixels: list[np.ndarray] = []
    for split, sample in samples:
        _write_sample(folder / f"{sample.id}.hdf5", sample, bands, dataset.RESOLUTION)
        partition["valid" if split == "val" else split].append(sample.id)
        labels[sample.id] = sample.label
        if split == "train":
            train_pixels.append(sample.data.reshape(len(bands), -1)[:, ::7])

    for name in ("default", "1.00x_train"):
        write_json(folder / f"{name}_partition.json", partition)
    generator = np.random.default_rng(0)
    for fraction in _FRACTIONS:
        if count := int(fraction * len(partition["train"])):
            drawn = generator.choice(partition["train"], count, replace=False).tolist()
            write_json(folder / f"{fraction:.2f}x_train_partition.json", partition | {"train": drawn})
    values = np.concatenate(train_pixels, axis=1).astype(float)
    stats = {band.name: _statistics(row) for band, row in zip(bands, values, strict=True)}
    train_labels = np.hstack([labels[name] for name in partition["train"]]).astype(float)
    write_json(folder / "band_stats.json", stats | {"label": _statistics(train_labels)})
    if dataset.LABEL_FILE:
        write_json(folder / dataset.LABEL_FILE, _label_file(labels, several=dataset.LABEL_FILE == LABEL_STATS))
    (folder / "task_specs.pkl").write_bytes(pickled(task(dataset, pixels)))


def _label_file(labels: dict[str, Any], several: bool) -> dict[str, list[Any]]:
    """Ids by label, or where a sample has several, labels by id."""
    if several:
        return {name: label.tolist() for name, label in labels.items()}
    ids_of: dict[str, list[str]] = {}
    for name, label in labels.items():
        ids_of.setdefault(str(label), []).append(name)
    return ids_of


def _statistics(values: np.ndarray) -> dict[str, float]:
    names = [f"percentile_{p:g}".replace(".", "_") for p in _PERCENTILES]
    found = dict(zip(names, np.percentile(values, _PERCENTILES), strict=True))
    found |= {what: getattr(np, what)(values) for what in ("mean", "std", "min", "max", "median")}
    return {name: float(value) for name, value in found.items()}


def _write_sample(path: Path, sample: Sample, bands: tuple[StoredBand, ...], resolution: int) -> None:
    import h5py
    import rasterio

    suffix = "" if sample.date is None else f"_{sample.date:%Y-%m-%d}"
    keys = [band.name + suffix for band in bands]
    dated = {"date": sample.date, "date_id": sample.date, "spatial_resolution": float(resolution)}
    placed = {
        "meta_info": sample.meta,
        "transform": sample.transform and rasterio.Affine(*sample.transform),
        "crs": sample.crs and rasterio.CRS.from_epsg(sample.crs),
    }
    info = {key: dated | {"band_info": band.info()} | placed for key, band in zip(keys, bands, strict=True)}
    record = {"label": sample.label, **info, "bands_order": keys}
    with h5py.File(path, "w") as file:
        for key, band_data in zip(keys, sample.data, strict=True):
            file.create_dataset(key, data=band_data, track_times=False)
        file.attrs["pickle"] = str(pickled(record))
