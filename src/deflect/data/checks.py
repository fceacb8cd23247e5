"""Checks of a whole dataset while it is prepared: sizes, leaks between splits, reflectance, published statistics.

What a user can correct is an error. What only the publisher can correct is a warning where the caller asks for it.
"""

from __future__ import annotations

import logging
from itertools import combinations
from pathlib import Path

import numpy as np

from deflect.bands import BandStatistics
from deflect.data.catalog import DatasetSheet
from deflect.errors import DataError
from deflect.settings import SPLITS

log = logging.getLogger(__name__)

#: Maximum share of a band's pixels beyond the physical range: glint and defects, not a wrong unit.
OUTSIDE = 1e-3
#: Tolerance of the statistics of a sample: enough to find other units and other bands.
ROUGH = 0.5
#: Minimum mean reflectance of the brightest band of any land or sea; below it the scale is wrong.
DARKEST = 1e-3
NO_REFLECTANCE = "; exclude a band that is no reflectance (radar, temperature) with `use` in card.yaml"


def check_sizes(sheet: DatasetSheet, sizes: dict[str, int], image_size: int, raw: Path) -> None:
    """Compare split sizes and image size with the data sheet."""
    if image_size != sheet.image_size:
        raise DataError(f"{raw}: images of {sheet.image_size} pixels expected, found {image_size}; fetch them again")
    if sizes == sheet.splits:
        return
    expected, found = ("/".join(str(counts[split]) for split in SPLITS) for counts in (sheet.splits, sizes))
    message = f"{raw}: {sheet.name} should have {expected} images, found {found}"
    if sheet.splits_exact:
        raise DataError(f"{message}; fetch or place the dataset again")
    log.warning("%s; the publisher does not state the numbers", message)


def check_ids(ids: dict[str, list[str]], raw: Path) -> None:
    """No id is in two splits."""
    for first, second in combinations(SPLITS, 2):
        common = sorted(set(ids[first]) & set(ids[second]))
        if common:
            message = f"{raw}: {first} and {second} share {len(common)} images, e.g. {common[0]!r}"
            raise DataError(f"{message}; an image belongs to one split: correct the split files")


def check_copies(ids: dict[str, list[str]], hashes: dict[str, np.ndarray], raw: Path, refuse: bool) -> None:
    """No image is in two splits under two ids. Copies within a split are allowed.

    Args:
        hashes: (N,) of the pixels of each image.
        refuse: False logs copies only, for published splits that are used as they are.
    """
    for first, second in combinations(SPLITS, 2):
        copies = np.flatnonzero(np.isin(hashes[second], hashes[first]))
        if not len(copies):
            continue
        originals = np.flatnonzero(hashes[first] == hashes[second][copies[0]])
        original, copy = ids[first][originals[-1]], ids[second][copies[0]]
        message = (
            f"{raw}: {len(copies)} images of {second} are copies of images of {first}, e.g. {copy!r} of {original!r}"
        )
        if refuse:
            raise DataError(
                f"{message}; remove them, or accept published splits as they are: add the dataset to `unchecked` of "
                "the study in config.yaml (by hand: --no-check)"
            )
        log.warning("%s", message)


def check_labels(sheet: DatasetSheet, labelled: dict[str, np.ndarray], raw: Path) -> None:
    """Every split has labels; a class that is scored but not trained is logged.

    Args:
        labelled: per split, the number of images or pixels of each class.
    """
    for split, counts in labelled.items():
        if not counts.any():
            raise DataError(f"{raw}: nothing in {split} has a label; correct the labels, or the value for no label")
        for name, trained, scored in zip(sheet.classes, labelled["train"], counts, strict=True):
            if scored and not trained:
                log.warning("%s: class %s is in %s but not in train: no model can learn it", raw, name, split)


def check_dark(dark: int, raw: Path) -> None:
    """Log pixels that are 0 in every band and not nodata: mostly the border of a scene, not measurements."""
    if dark:
        message = f"{raw}: {dark} pixels of train are 0 in every band and count as measurements"
        log.warning("%s; if they are not, set nodata in card.yaml", message)


def check_reflectance(sheet: DatasetSheet, found: BandStatistics, outside: dict[str, np.ndarray], raw: Path) -> None:
    """Pixels are in the physical range, and not so dark that the scale must be wrong.

    Args:
        outside: per split, the share of pixels of each band beyond the range of the sheet.
    """
    low, high = sheet.reflectance_range
    for split, shares in outside.items():
        worst = int(shares.argmax())
        if shares[worst] > OUTSIDE:
            where = f"{100 * shares[worst]:.2g} % of the pixels of band {sheet.bands.names[worst]} in {split}"
            raise DataError(
                f"{raw}: {where} are beyond reflectance {low:g} to {high:g} at scale {sheet.scale:g}; correct scale, "
                f"offset or nodata{NO_REFLECTANCE}"
            )
    for name, spread in zip(sheet.bands.names, found.std, strict=True):
        if spread > high - low:
            raise DataError(
                f"{raw}: band {name} has a standard deviation of reflectance of {spread:.2g} in train, beyond {low:g} "
                f"to {high:g}; set nodata to the value without a measurement{NO_REFLECTANCE}"
            )
    if max(found.mean) < DARKEST:
        brightest = f"the brightest band has a mean reflectance of {max(found.mean):.2g}"
        raise DataError(f"{raw}: {brightest} at scale {sheet.scale:g}, expected {DARKEST:g} or more; correct it")


def check_published(sheet: DatasetSheet, found: BandStatistics, raw: Path, sample: int = 0) -> None:
    """Compare training statistics with the published ones; the error names every band that differs.

    Args:
        sample: the number of images ``found`` is of, if not all; it may differ by more than the sheet's tolerances.
    """
    differences = []
    for what, published, own, tolerance in (
        ("mean", sheet.published_mean, found.mean, sheet.published_tolerance[0]),
        ("standard deviation", sheet.published_std, found.std, sheet.published_tolerance[1]),
    ):
        allowed = max(tolerance, ROUGH) if sample else tolerance
        for name, expected, value in zip(sheet.bands.names, published or (), own, strict=bool(published)):
            stored = value / sheet.scale
            if abs(stored - expected) > allowed * abs(expected):
                limit = f"expected within {100 * allowed:g} %"
                differences.append(f"{name}: {what} {expected:.6g} {limit}, found {stored:.6g}")
    if differences:
        where = f"a sample of {sample} images" if sample else "train"
        raise DataError(
            f"{raw}: {where} is not as published: band {'; '.join(differences)}; check that these are the published "
            f"files, or accept them: add {sheet.name} to `unchecked` of the study in config.yaml (by hand: --no-check)"
        )
