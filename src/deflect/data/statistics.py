"""Mean and standard deviation of reflectance per band, from the sums of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandStatistics
from deflect.data.catalog import DatasetSheet
from deflect.errors import DataError


def image_sums(
    sheet: DatasetSheet, image: np.ndarray, label: np.ndarray | int, measured: np.ndarray
) -> dict[str, np.ndarray]:
    """What the statistics and checks need of one image (C, H, W) as stored, 0 where it is not ``measured``.

    Returns:
        ``measured``: (C,) pixels with a measurement; ``sum``, ``square``: (C,) sum and sum of squares of reflectance;
        ``outside``: (C,) pixels beyond the possible reflectance of the sheet; ``labelled``: images or pixels of each
        class; ``dark``: measured pixels that are 0 in every band.
    """
    low, high = sheet.reflectance_range
    reflectance = image.reshape(len(image), -1).astype(np.float64) * sheet.scale
    classes = np.ravel(label)
    return {
        "measured": measured.reshape(len(image), -1).sum(1),
        "sum": reflectance.sum(1),
        "square": np.square(reflectance).sum(1),
        "outside": ((reflectance < low) | (reflectance > high)).sum(1),
        "labelled": np.bincount(classes[classes >= 0], minlength=len(sheet.classes)),
        "dark": ((image == 0) & measured).all(0).sum(),
    }


def total(notes: list[dict[str, Any]], name: str) -> np.ndarray:
    """One of the sums, over all images or shards of ``notes``."""
    return np.asarray(sum(np.asarray(note[name]) for note in notes))


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
