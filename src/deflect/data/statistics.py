"""Mean and standard deviation of reflectance per band, from the sums of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandStatistics
from deflect.data.catalog import DatasetSheet
from deflect.errors import DataError


class Sums:
    """Sums over images, band by band.

    Attributes:
        measured: (C,) pixels with a measurement.
        sum, square: (C,) sum and sum of squares of reflectance.
        outside: (C,) pixels beyond the possible reflectance of the sheet.
        labelled: images, or pixels, of each class.
        dark: measured pixels that are 0 in every band.
    """

    def __init__(self, sheet: DatasetSheet) -> None:
        self.sheet, bands = sheet, len(sheet.bands)
        self.sum, self.square = np.zeros(bands), np.zeros(bands)
        self.measured, self.outside = np.zeros(bands, np.int64), np.zeros(bands, np.int64)
        self.labelled = np.zeros(len(sheet.classes), np.int64)
        self.dark = 0

    def add(self, image: np.ndarray, label: np.ndarray | int, measured: np.ndarray) -> None:
        """Add an image (C, H, W) as stored; pixels that are not ``measured`` are 0 and add nothing."""
        low, high = self.sheet.reflectance_range
        reflectance = image.reshape(len(image), -1).astype(np.float64) * self.sheet.scale
        self.sum += reflectance.sum(1)
        self.square += np.square(reflectance).sum(1)
        self.outside += ((reflectance < low) | (reflectance > high)).sum(1)
        self.measured += measured.reshape(len(image), -1).sum(1)
        self.dark += int(((image == 0) & measured).all(0).sum())
        classes = np.ravel(label)
        self.labelled += np.bincount(classes[classes >= 0], minlength=len(self.labelled))

    def to_dict(self) -> dict[str, Any]:
        """The sums, ready for JSON."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items() if name != "sheet"}


def total(notes: list[dict[str, Any]], name: str) -> np.ndarray:
    """A sum over all shards."""
    return np.asarray(np.sum([note[name] for note in notes], axis=0))


def band_statistics(sheet: DatasetSheet, notes: list[dict[str, Any]], raw: Path) -> BandStatistics:
    """Statistics of reflectance over all measured pixels of the shards of ``notes``.

    Rounded to 9 digits, so that another order of additions in another build of NumPy gives the same card.
    """
    pixels = total(notes, "measured")
    for name, count in zip(sheet.bands.names, pixels, strict=True):
        if not count:
            raise DataError(f"{raw}: band {name} has no measurement in the training split; leave the band out")
    mean = total(notes, "sum") / pixels
    std = np.sqrt(np.maximum(total(notes, "square") / pixels - mean**2, 0))
    for name, value, spread in zip(sheet.bands.names, mean, std, strict=True):
        if spread <= 1e-6 * abs(value):
            raise DataError(f"{raw}: band {name} is constant ({value:g}) in the training split; leave the band out")
    return BandStatistics(*(tuple(float(f"{value:.9g}") for value in values) for values in (mean, std)))
