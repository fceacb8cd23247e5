"""Mean and standard deviation of reflectance per band, from the sums of shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandStatistics
from deflect.data.catalog import DatasetSheet
from deflect.errors import DataError
from deflect.settings import REGRESSIONS


def image_sums(
    sheet: DatasetSheet, image: np.ndarray, label: np.ndarray | np.float32 | int, measured: np.ndarray
) -> dict[str, np.ndarray]:
    """What the statistics and checks need of one image (C, H, W) as stored, 0 where it is not ``measured``.

    Returns:
        ``measured``: (C,) pixels with a measurement; ``sum``, ``square``: (C,) sum and sum of squares of reflectance;
        ``outside``: (C,) pixels beyond the possible reflectance of the sheet; ``labelled``: images or pixels of each
        class, of a regression those with a number; ``dark``: measured pixels that are 0 in every band. Of a regression
        also ``target`` and ``target_square``: sums of its numbers and of their squares.
    """
    low, high = sheet.reflectance_range
    reflectance = image.reshape(len(image), -1).astype(np.float64) * sheet.scale
    return {
        "measured": measured.reshape(len(image), -1).sum(1),
        "sum": reflectance.sum(1),
        "square": np.square(reflectance).sum(1),
        "outside": ((reflectance < low) | (reflectance > high)).sum(1),
        **_label_sums(sheet, np.ravel(label)),
        "dark": ((image == 0) & measured).all(0).sum(),
    }


def _label_sums(sheet: DatasetSheet, label: np.ndarray) -> dict[str, np.ndarray]:
    if sheet.task == "multilabel":
        return {"labelled": label.astype(np.int64)}
    if sheet.task in REGRESSIONS:
        numbers = label[np.isfinite(label)].astype(np.float64)
        return {
            "labelled": np.array([len(numbers)]),
            "target": numbers.sum(),
            "target_square": np.square(numbers).sum(),
        }
    return {"labelled": np.bincount(label[label >= 0], minlength=len(sheet.classes))}


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


def target_statistics(sheet: DatasetSheet, notes: list[dict[str, Any]], raw: Path, split: str) -> tuple[float, float]:
    """Mean and standard deviation of the numbers that a regression predicts, rounded as those of the bands.

    Raises:
        DataError: they are constant, so that R2 is not defined.
    """
    count = total(notes, "labelled")[0]
    mean = float(total(notes, "target") / count)
    std = float(np.sqrt(max(total(notes, "target_square") / count - mean**2, 0.0)))
    if std <= 1e-6 * abs(mean):
        what = f"{sheet.classes[0]} is {mean:g} in all of {split}"
        raise DataError(f"{raw}: {what}: a constant needs no model and has no R2; correct the labels or the splits")
    return float(f"{mean:.9g}"), float(f"{std:.9g}")
