"""Test images of a prepared dataset, read with numpy alone: importing torch would take longer than the figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deflect.analysis.schema import RecordError
from deflect.bands import BandSet
from deflect.data.card import read_ids
from deflect.files import read_json


class TestImages:
    """The test split of a store (`deflect.data.store`), by published id.

    Raises:
        FileNotFoundError: the folder holds no prepared data.
    """

    __test__ = False  # the name is not one of pytest's

    def __init__(self, folder: Path) -> None:
        if not (folder / "store.json").exists():
            raise FileNotFoundError(f"{folder}: no prepared data; run `deflect data prepare {folder.name}`")
        card = read_json(folder / "store.json")
        self.folder = folder
        self.bands = BandSet.from_dict(card["bands"])
        self.scale = float(card["scale"])
        self.images = np.load(folder / "test.images.npy", mmap_mode="r")
        self.rows = {name: row for row, name in enumerate(read_ids(folder, "test"))}

    def reflectance(self, name: str) -> NDArray[np.float64]:
        """The image called ``name``: (C, H, W) reflectance."""
        if name not in self.rows:
            raise RecordError(f"{self.folder}: no test image {name!r}; the run saw other data, train it again")
        return np.asarray(self.images[self.rows[name]], dtype=float) * self.scale


def composite(
    image: NDArray[np.float64], bands: BandSet, roles: Sequence[str], joint: bool = False
) -> NDArray[np.float64]:
    """Three bands as a picture (H, W, 3) from 0 to 1, stretched between their 2nd and 98th percentiles.

    Args:
        roles: Spyndex letters of the bands shown as red, green and blue.
        joint: stretch the three together, which keeps natural colours; else one by one.
    """
    shown = np.stack([image[bands.channel_of_role(role)] for role in roles], axis=-1)
    seen = shown[np.any(shown != 0, axis=-1)]  # nodata is zero in every band
    if seen.size == 0:
        return np.zeros_like(shown)
    low, high = np.percentile(seen, [2, 98], axis=None if joint else 0)
    return np.clip((shown - low) / np.maximum(high - low, 1e-6), 0, 1)
