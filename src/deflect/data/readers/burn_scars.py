"""HLS Burn Scars in its published folders.

    training/, validation/   subsetted_512x512_HLS.S30.<tile>.<date>.v1.4_merged.tif   6 bands, float32 reflectance
                             subsetted_512x512_HLS.S30.<tile>.<date>.v1.4.mask.tif     1 burned, 0 not, -1 missing

The publisher provides two folders. As in PANGAEA, a tenth of ``training`` is the validation split, drawn by
scikit-learn's ``train_test_split(np.arange(n), test_size=0.1, random_state=23)`` over the sorted names, and
``validation`` is the test split.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.raster import read_raster
from deflect.errors import DataError

IMAGE, MASK = "_merged.tif", ".mask.tif"
FOLDERS = {"train": "training", "val": "training", "test": "validation"}
SEED, SHARE = 23, 0.1


class BurnScars(RawDataset):
    """One split of HLS Burn Scars; nodata is 0 in pixels and ignored in masks."""

    marker = "training"

    def _list_ids(self) -> list[str]:
        folder = self.folder / FOLDERS[self.split]
        ids = sorted(path.name.removesuffix(IMAGE) for path in folder.glob(f"*{IMAGE}"))
        masks = {path.name.removesuffix(MASK) for path in folder.glob(f"*{MASK}")}
        for alone, has, lacks in ((set(ids) - masks, IMAGE, MASK), (masks - set(ids), MASK, IMAGE)):
            if alone:
                raise DataError(f"{folder / min(alone)}{has}: no {lacks} for it; fetch the dataset again")
        if self.split == "test":
            return ids
        held_out = set(validation_indices(len(ids)))
        return [name for i, name in enumerate(ids) if (i in held_out) == (self.split == "val")]

    def path(self, index: int) -> Path:
        return self.folder / FOLDERS[self.split] / f"{self.ids[index]}{IMAGE}"

    def label_path(self, index: int) -> Path:
        return self.path(index).with_name(f"{self.ids[index]}{MASK}")

    def _read(self, index: int) -> Sample:
        labels = read_raster(self.label_path(index)).pixels
        if len(labels) != 1:
            raise DataError(f"{self.label_path(index)}: expected one band, found {len(labels)}; fetch the file again")
        return read_raster(self.path(index)).pixels, labels[0]


def validation_indices(n: int) -> list[int]:
    """The test part of ``sklearn.model_selection.train_test_split(np.arange(n), test_size=0.1, random_state=23)``."""
    return np.random.RandomState(SEED).permutation(n)[: math.ceil(SHARE * n)].tolist()
