"""GEO-Bench v1 in its HDF5 layout: m-so2sat, m-brick-kiln, m-forestnet, m-bigearthnet.

    default_partition.json   {"train": [ids], "valid": [ids], "test": [ids]}
    0.01x_train_partition.json and others   the same with a part of the training split, drawn at random
    <id>.hdf5                one 2-D dataset per band, called by the band's name, or name and date; attribute ``pickle``

Ids may contain dots and minus signs (ForestNet). Bands are selected by name, never by the order of the keys: sorted,
the Sentinel-1 and Sentinel-2 bands of So2Sat would alternate. ``task_specs.pkl`` is never read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.checks import refuse_large, refuse_paths, refuse_repeated
from deflect.data.readers.geobench_pickle import read_label
from deflect.errors import DataError
from deflect.files import read_json, require_file

if TYPE_CHECKING:
    import h5py

PARTITION = "default_partition.json"
PARTITIONS = {"train": "train", "val": "valid", "test": "test"}
#: Of the training split, in published subsets. (``1.00x_train_partition.json`` is the default partition.)
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class GeoBench(RawDataset):
    """One split of a GEO-Bench dataset; the sheet's ``stored_names`` map stored bands to true bands."""

    marker = PARTITION

    def _list_ids(self) -> list[str]:
        return _partition(self.folder / PARTITION, self.split)

    def published_subsets(self) -> dict[float, list[str]]:
        """Of the training split; those of 1 %, 2 %, 5 %, 10 %, 20 % and 50 % are published.

        Raises:
            DataError: an image of a subset is not in the training split, or twice in the subset.
        """
        subsets = {}
        for fraction in FRACTIONS if self.split == "train" else ():
            path = self.folder / f"{fraction:.2f}x_train_partition.json"
            if not path.is_file():
                continue
            subsets[fraction] = _partition(path, "train")
            refuse_repeated(subsets[fraction], str(path))
            if unknown := sorted(set(subsets[fraction]).difference(self.ids)):
                raise DataError(
                    f"{path}: {unknown[0]!r} is not in the training split of {PARTITION}; fetch the file again, or "
                    "delete it to have a balanced subset drawn in its place"
                )
        return subsets

    def path(self, index: int) -> Path:
        return self.folder / f"{self.ids[index]}.hdf5"

    def _read(self, index: int) -> Sample:
        import h5py

        path = self.path(index)
        require_file(path)
        with h5py.File(path, "r") as file:
            planes = {key: _plane(file, key, path) for key in self._keys(list(file), path)}
            label = read_label(file.attrs.get("pickle"), path)
        first = next(iter(planes))
        for key, plane in planes.items():
            if plane.ndim != 2 or plane.shape != planes[first].shape:
                shapes = f"band {key!r} has shape {plane.shape}, {first!r} {planes[first].shape}"
                raise DataError(f"{path}: {shapes}; fetch the file again")
        return np.stack(list(planes.values())), label  # type: ignore[return-value]

    def _keys(self, stored: list[str], path: Path) -> list[str]:
        """The keys of the sheet's bands among ``stored``, in the order of the bands."""
        names = self.sheet.stored_names
        found = {
            name: [key for key in stored if key == name or key.startswith(name + "_")]
            for name in (*names, *self.sheet.left_out)
        }
        for name in names:
            if len(found[name]) != 1:
                what = f"no band {name!r}" if not found[name] else f"band {name!r} more than once"
                raise DataError(f"{path}: {what} among {', '.join(stored)}; fetch the file again")
        unknown = sorted(set(stored).difference(*found.values()))
        if unknown:
            raise DataError(f"{path}: unknown band {unknown[0]!r}; this is not {self.sheet.name} as published")
        return [found[name][0] for name in names]


def _partition(path: Path, split: str) -> list[str]:
    """The ids of a split in a partition file."""
    partition = read_json(path)
    ids = partition.get(PARTITIONS[split]) if isinstance(partition, dict) else None
    if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
        raise DataError(f"{path}: expected a list of names under {PARTITIONS[split]!r}; fetch the file again")
    refuse_paths(ids, path)
    return ids


def _plane(file: h5py.File, key: str, path: Path) -> np.ndarray:
    """One band, stored in the file itself and not larger than an image."""
    import h5py

    found = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
        raise DataError(f"{path}: band {key!r} is no array of this file but points elsewhere; fetch the file again")
    for shape in (found.shape, found.chunks or ()):
        refuse_large(shape, found.dtype, path)
    return found[()]
