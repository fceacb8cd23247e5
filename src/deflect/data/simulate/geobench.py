"""Write SIMULATED samples in the on-disk format of GEO-Bench v1: So2Sat, Brick Kiln and ForestNet.

    <sample>.hdf5                  one 2-D dataset per band; root attribute `pickle`, the text of a pickled dict
    default_partition.json         {"train": [ids], "valid": [ids], "test": [ids]}; 1.00x_train_partition.json is equal
    band_stats.json                per band, and for the label, extrema, moments and percentiles of the training split
    label_map.json                 {label: [ids]}, only where the original has it

The original pickles hold objects of the GEO-Bench package; here plain containers stand in their place.
"""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deflect.files import write_json

_PERCENTILES = (0.1, 1, 5, 95, 99, 99.9)


@dataclass(frozen=True)
class StoredBand:
    """A band as GEO-Bench names it: ``wavelength`` in micrometres (None for radar), ``gsd`` of the sensor in metres."""

    name: str
    wavelength: float | None
    gsd: int


@dataclass(frozen=True)
class Sample:
    """One sample: its bands as (B, H, W) in the order and the unit of the file."""

    id: str
    label: int
    data: np.ndarray
    date: datetime.date | None = None
    meta: dict[str, Any] | None = None
    transform: tuple[float, ...] | None = None
    crs: str | None = None


def write(
    folder: Path, splits: dict[str, Iterator[Sample]], bands: tuple[StoredBand, ...], resolution: int, label_map: bool
) -> None:
    """Write all samples of the splits ``train``, ``val`` and ``test`` and the JSON files beside them.

    Args:
        resolution: metres per stored pixel.
        label_map: whether the original dataset has a ``label_map.json``.
    """
    partition: dict[str, list[str]] = {}
    ids_of: dict[str, list[str]] = {}
    train_pixels: list[np.ndarray] = []
    train_labels: list[int] = []
    for split, samples in splits.items():
        names = partition["valid" if split == "val" else split] = []
        for sample in samples:
            _write_sample(folder / f"{sample.id}.hdf5", sample, bands, resolution)
            names.append(sample.id)
            ids_of.setdefault(str(sample.label), []).append(sample.id)
            if split == "train":
                train_pixels.append(sample.data.reshape(len(bands), -1)[:, ::7])
                train_labels.append(sample.label)

    for name in ("default", "1.00x_train"):
        write_json(folder / f"{name}_partition.json", partition)
    pixels = np.concatenate(train_pixels, axis=1).astype(float)
    stats = {band.name: _statistics(values) for band, values in zip(bands, pixels, strict=True)}
    write_json(folder / "band_stats.json", stats | {"label": _statistics(np.array(train_labels, dtype=float))})
    if label_map:
        write_json(folder / "label_map.json", ids_of)


def _statistics(values: np.ndarray) -> dict[str, float]:
    percentiles = np.percentile(values, _PERCENTILES)
    named = {f"percentile_{p:g}".replace(".", "_"): float(v) for p, v in zip(_PERCENTILES, percentiles, strict=True)}
    moments = {"mean": float(values.mean()), "std": float(values.std())}
    return (
        named | moments | {"min": float(values.min()), "max": float(values.max()), "median": float(np.median(values))}
    )


def _write_sample(path: Path, sample: Sample, bands: tuple[StoredBand, ...], resolution: int) -> None:
    import h5py

    suffix = "" if sample.date is None else f"_{sample.date:%Y-%m-%d}"
    keys = [band.name + suffix for band in bands]
    record: dict[str, Any] = {"label": sample.label}
    for key, band in zip(keys, bands, strict=True):
        record[key] = {
            "date": sample.date,
            "date_id": sample.date,
            "spatial_resolution": resolution,
            "band_info": {"name": band.name, "spatial_resolution": band.gsd, "wavelength": band.wavelength},
            "meta_info": sample.meta,
            "transform": sample.transform,
            "crs": sample.crs,
        }
    record["bands_order"] = keys
    with h5py.File(path, "w") as file:
        for key, band_data in zip(keys, sample.data, strict=True):
            file.create_dataset(key, data=band_data, track_times=False)
        file.attrs["pickle"] = str(pickle.dumps(record, protocol=4))
