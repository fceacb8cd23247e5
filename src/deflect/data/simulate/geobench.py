"""Write SIMULATED samples in the on-disk format of GEO-Bench v1: So2Sat, Brick Kiln and ForestNet.

    <sample>.hdf5                  one 2-D dataset per band; root attribute `pickle`, the text of a pickled dict
    default_partition.json         {"train": [ids], "valid": [ids], "test": [ids]}; 1.00x_train_partition.json is equal
    band_stats.json                per band, and for the label, extrema, moments and percentiles of the training split
    label_map.json                 {label: [ids]}, only where the original has it
    task_specs.pkl                 what GEO-Bench's own loader reads first: bands, classes, size of an image

The pickles hold objects of the classes of the GEO-Bench package, which reads the files but is not needed to write them.
"""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
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
    sensor: str = "Sentinel2"

    def info(self) -> Any:
        """The band as an object of GEO-Bench, which also finds it by its number and colour."""
        number, _, word = self.name.partition(" - ")
        numbers = dict.fromkeys((number.lstrip("0"), number))
        colours = {"Red": "red", "Green": "green", "Blue": "blue", "NIR": "NIR"}
        other_names = () if self.sensor == "Sentinel1" else (*numbers, *([colours[word]] if word in colours else []))
        facts = {"name": self.name, "alt_names": other_names, "spatial_resolution": self.gsd}
        return _object(f"geobench.dataset.{self.sensor}", facts | {"wavelength": self.wavelength})


#: Sentinel-2 in the order and under the names of GEO-Bench.
SENTINEL2 = (
    StoredBand("01 - Coastal aerosol", 0.443, 60),
    StoredBand("02 - Blue", 0.49, 10),
    StoredBand("03 - Green", 0.56, 10),
    StoredBand("04 - Red", 0.665, 10),
    StoredBand("05 - Vegetation Red Edge", 0.705, 20),
    StoredBand("06 - Vegetation Red Edge", 0.74, 20),
    StoredBand("07 - Vegetation Red Edge", 0.783, 20),
    StoredBand("08 - NIR", 0.842, 10),
    StoredBand("08A - Vegetation Red Edge", 0.865, 20),
    StoredBand("09 - Water vapour", 0.945, 60),
    StoredBand("10 - SWIR - Cirrus", 1.375, 60),
    StoredBand("11 - SWIR", 1.61, 20),
    StoredBand("12 - SWIR", 2.19, 20),
)


@dataclass(frozen=True)
class Sample:
    """One sample: its bands as (B, H, W) in the order and the unit of the file; ``crs`` is an EPSG code."""

    id: str
    label: int
    data: np.ndarray
    date: datetime.date | None = None
    meta: dict[str, Any] | None = None
    transform: tuple[float, ...] | None = None
    crs: int | None = None


def write(folder: Path, splits: dict[str, Iterator[Sample]], dataset: ModuleType, pixels: int) -> None:
    """Write all samples of the splits ``train``, ``val`` and ``test`` and the files beside them.

    Args:
        dataset: the module of the dataset: its name, bands, classes and metres per pixel, and whether it has a
            ``label_map.json``.
        pixels: side of an image.
    """
    bands = dataset.STORED
    partition: dict[str, list[str]] = {}
    ids_of: dict[str, list[str]] = {}
    train_pixels: list[np.ndarray] = []
    train_labels: list[int] = []
    for split, samples in splits.items():
        names = partition["valid" if split == "val" else split] = []
        for sample in samples:
            _write_sample(folder / f"{sample.id}.hdf5", sample, bands, dataset.RESOLUTION)
            names.append(sample.id)
            ids_of.setdefault(str(sample.label), []).append(sample.id)
            if split == "train":
                train_pixels.append(sample.data.reshape(len(bands), -1)[:, ::7])
                train_labels.append(sample.label)

    for name in ("default", "1.00x_train"):
        write_json(folder / f"{name}_partition.json", partition)
    values = np.concatenate(train_pixels, axis=1).astype(float)
    stats = {band.name: _statistics(row) for band, row in zip(bands, values, strict=True)}
    write_json(folder / "band_stats.json", stats | {"label": _statistics(np.array(train_labels, dtype=float))})
    if dataset.LABEL_MAP:
        write_json(folder / "label_map.json", ids_of)
    (folder / "task_specs.pkl").write_bytes(_pickled(_task(dataset, pixels)))


def _statistics(values: np.ndarray) -> dict[str, float]:
    percentiles = np.percentile(values, _PERCENTILES)
    named = {f"percentile_{p:g}".replace(".", "_"): float(v) for p, v in zip(_PERCENTILES, percentiles, strict=True)}
    moments = {"mean": float(values.mean()), "std": float(values.std())}
    return (
        named | moments | {"min": float(values.min()), "max": float(values.max()), "median": float(np.median(values))}
    )


def _write_sample(path: Path, sample: Sample, bands: tuple[StoredBand, ...], resolution: int) -> None:
    import h5py
    import rasterio

    suffix = "" if sample.date is None else f"_{sample.date:%Y-%m-%d}"
    keys = [band.name + suffix for band in bands]
    record: dict[str, Any] = {"label": sample.label}
    same = {
        "meta_info": sample.meta,
        "transform": sample.transform and rasterio.Affine(*sample.transform),
        "crs": sample.crs and rasterio.CRS.from_epsg(sample.crs),
    }
    for key, band in zip(keys, bands, strict=True):
        dated = {"date": sample.date, "date_id": sample.date, "spatial_resolution": float(resolution)}
        record[key] = dated | {"band_info": band.info()} | same
    record["bands_order"] = keys
    with h5py.File(path, "w") as file:
        for key, band_data in zip(keys, sample.data, strict=True):
            file.create_dataset(key, data=band_data, track_times=False)
        file.attrs["pickle"] = str(_pickled(record))


def _task(dataset: ModuleType, pixels: int) -> Any:
    """The object of ``task_specs.pkl``."""
    classes = {"n_classes": dataset.CLASSES, "_class_names": None}
    facts = {
        "dataset_name": dataset.NAME,
        "benchmark_name": "classification_v1.0",
        "patch_size": (pixels, pixels),
        "n_time_steps": 1,
        "bands_info": [band.info() for band in dataset.STORED],
        "label_type": _object("geobench.label.Classification", classes),
        "spatial_resolution": dataset.RESOLUTION,
    }
    return _object("geobench.task.TaskSpecifications", facts)


@cache
def _stand_in(path: str) -> type:
    """An empty class that calls itself ``path``."""
    module, _, name = path.rpartition(".")
    return type(name, (), {"__module__": module})


def _object(path: str, facts: dict[str, Any]) -> Any:
    """An object that unpickles as one of the class ``path`` with ``facts`` as its attributes."""
    made = _stand_in(path)()
    vars(made).update(facts)
    return made


class _Pickler(pickle._Pickler):
    """Writes the name of a class without importing it; the pickler written in C compares it with the real one."""

    def save_global(self: Any, obj: Any, name: str | None = None) -> None:
        for text in (obj.__module__, obj.__qualname__):
            self.save(text)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)


def _pickled(value: Any) -> bytes:
    file = BytesIO()
    _Pickler(file, protocol=4).dump(value)
    return file.getvalue()
