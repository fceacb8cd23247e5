"""Objects of classes of the ``geobench`` package, pickled without it.

Each is an object of an empty class with the name of GEO-Bench's, with the same attributes. Unpickling finds the real
class by its name.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from types import ModuleType
from typing import Any

#: The file with the labels of each sample, where a sample has several.
LABEL_STATS = "label_stats.json"
#: Names of a band in GEO-Bench apart from its number.
_COLOURS = {"Red": "red", "Green": "green", "Blue": "blue", "NIR": "NIR"}


@dataclass(frozen=True)
class StoredBand:
    """A band as GEO-Bench names it: ``wavelength`` in micrometres (None for radar), ``gsd`` of the sensor in metres."""

    name: str
    wavelength: float | None
    gsd: int
    sensor: str = "Sentinel2"

    def info(self) -> Any:
        """The band as an object of ``geobench.dataset``."""
        number, _, word = self.name.partition(" - ")
        others = dict.fromkeys((number.lstrip("0"), number, _COLOURS.get(word, number)))
        facts = {
            "name": self.name,
            "alt_names": () if self.wavelength is None else tuple(others),
            "spatial_resolution": self.gsd,
            "wavelength": self.wavelength,
        }
        return _object(f"geobench.dataset.{self.sensor}", facts)


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


def task(dataset: ModuleType, pixels: int) -> Any:
    """The object in ``task_specs.pkl``; ``pixels`` is the side of an image."""
    names = "class_name" if dataset.LABEL_FILE == LABEL_STATS else "_class_names"
    label_type = "MultiLabelClassification" if dataset.LABEL_FILE == LABEL_STATS else "Classification"
    facts = {
        "dataset_name": dataset.NAME,
        "benchmark_name": "classification_v1.0",
        "patch_size": (pixels, pixels),
        "n_time_steps": 1,
        "bands_info": [band.info() for band in dataset.STORED],
        "label_type": _object(f"geobench.label.{label_type}", {"n_classes": dataset.CLASSES, names: None}),
        "spatial_resolution": dataset.RESOLUTION,
    }
    return _object("geobench.task.TaskSpecifications", facts)


def pickled(value: Any) -> bytes:
    file = BytesIO()
    _Pickler(file, protocol=4).dump(value)
    return file.getvalue()


class _Pickler(pickle._Pickler):
    """Writes the name of a class without importing it; ``pickle.Pickler`` would look for the real class."""

    def save_global(self: Any, obj: Any, name: str | None = None) -> None:
        for text in (obj.__module__.replace("numpy._core", "numpy.core"), obj.__qualname__):  # as NumPy 1, as published
            self.save(text)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)


def _object(path: str, facts: dict[str, Any]) -> Any:
    """An object of the class called ``path``, with the attributes ``facts``."""
    made = _stand_in(path)()
    vars(made).update(facts)
    return made


@cache
def _stand_in(path: str) -> type:
    module, _, name = path.rpartition(".")
    return type(name, (), {"__module__": module})
