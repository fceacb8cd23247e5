"""Checks of a whole dataset while it is prepared: sizes, leaks between splits, reflectance, published statistics.

What a user can correct is an error. What only the publisher could correct is a warning in the log, if asked for.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from deflect.bands import BandStatistics
from deflect.data.catalog import DatasetSheet
from deflect.errors import DataError
from deflect.settings import SPLITS

log = logging.getLogger(__name__)

PAIRS = (("train", "val"), ("train", "test"), ("val", "test"))
#: Share of pixels of a band that may lie beyond the physical range: glint and defects, not a wrong unit.
OUTSIDE = 1e-3
#: How far statistics of a sample may be from the published ones: it finds other units and other bands.
ROUGH = 0.5
#: The brightest band of any land or sea is brighter than this on average; darker means that the scale is wrong.
DARKEST = 1e-3
NO_REFLECTANCE = "; leave a band that is no reflectance (radar, temperature) out with `use` in card.yaml"


def check_sizes(sheet: DatasetSheet, sizes: dict[str, int], image_size: int, raw: Path) -> None:
    """Split sizes and image size against the data sheet."""
    if image_size != sheet.image_size:
        raise DataError(f"{raw}: images of {sheet.image_size} pixels expected, found {image_size}; fetch them again")
    if sizes == sheet.splits:
        return
    message = f"{raw}: {sheet.name} should have {_counts(sheet.splits)} images, found {_counts(sizes)}"
    if sheet.splits_exact:
        raise DataError(f"{message}; fetch or place the dataset again")
    log.warning("%s; no official text states the numbers", message)


def check_ids(ids: dict[str, list[str]], raw: Path) -> None:
    """No id in two splits."""
    for first, second in PAIRS:
        common = sorted(set(ids[first]) & set(ids[second]))
        if common:
            message = f"{raw}: {first} and {second} share {len(common)} images, e.g. {common[0]!r}"
            raise DataError(f"{message}; an image belongs to one split: correct the split files")


def check_copies(ids: dict[str, list[str]], hashes: dict[str, list[str]], raw: Path, refuse: bool) -> None:
    """No image in two splits under two ids. Copies within a split are allowed.

    Args:
        hashes: of the pixels of each image.
        refuse: False only notes copies, for published splits that have to be taken as they are.
    """
    for first, second in PAIRS:
        place = dict(zip(hashes[first], ids[first], strict=True))
        copies = [(place[key], name) for key, name in zip(hashes[second], ids[second], strict=True) if key in place]
        if copies:
            message = f"{raw}: {len(copies)} images of {second} are copies of images of {first}"
            message += f", e.g. {copies[0][1]!r} of {copies[0][0]!r}"
            if refuse:
                raise DataError(
                    f"{message}; remove them, or take published splits as they are: add the dataset to `unchecked` of "
                    "the study in config.yaml (by hand: --no-check)"
                )
            log.warning("%s", message)


def check_labels(sheet: DatasetSheet, labelled: dict[str, np.ndarray], raw: Path) -> None:
    """Every split has labels; a class that is scored but never trained on is noted in the log.

    Args:
        labelled: per split, the images or pixels of each class.
    """
    for split, counts in labelled.items():
        if not counts.any():
            raise DataError(f"{raw}: nothing in {split} has a label; correct the labels, or the value for none")
    for split in ("val", "test"):
        for name, trained, tested in zip(sheet.classes, labelled["train"], labelled[split], strict=True):
            if tested and not trained:
                log.warning("%s: class %s is in %s but not in train: no model can learn it", raw, name, split)


def note_dark(notes: list[dict[str, Any]], raw: Path) -> None:
    """Pixels that are 0 in every band and not nodata are rarely measurements: mostly the border of a scene."""
    dark = sum(note["dark"] for note in notes)
    if dark:
        log.warning(
            "%s: %d pixels of train are 0 in every band and count as measurements; if they are not, nodata in "
            "card.yaml says so",
            raw,
            dark,
        )


def check_reflectance(sheet: DatasetSheet, found: BandStatistics, outside: dict[str, np.ndarray], raw: Path) -> None:
    """Pixels within the physical range, and not so dark that the scale must be wrong.

    Args:
        outside: per split, the share of pixels of each band beyond the range of the sheet.
    """
    low, high = sheet.reflectance_range
    for split, shares in outside.items():
        worst = int(shares.argmax())
        if shares[worst] > OUTSIDE:
            name, share = sheet.bands.names[worst], f"{100 * shares[worst]:.2g} %"
            message = (
                f"{raw}: {share} of the pixels of band {name} in {split} are beyond reflectance {low:g} to {high:g}"
            )
            raise DataError(f"{message} at scale {sheet.scale:g}; correct scale, offset or nodata{NO_REFLECTANCE}")
    for name, spread in zip(sheet.bands.names, found.std, strict=True):
        if spread > high - low:
            message = f"{raw}: band {name} has a standard deviation of reflectance of {spread:.2g} in train, beyond"
            remedy = f"give the value that stands for nodata{NO_REFLECTANCE}"
            raise DataError(f"{message} {low:g} to {high:g}; {remedy}")
    if max(found.mean) < DARKEST:
        brightest = f"the brightest band has a mean reflectance of {max(found.mean):.2g}"
        raise DataError(f"{raw}: {brightest} at scale {sheet.scale:g}, expected {DARKEST:g} or more; correct it")


def check_published(sheet: DatasetSheet, found: BandStatistics, raw: Path, sample: int = 0) -> None:
    """Training statistics against the published ones; every band that differs is named.

    Args:
        sample: ``found`` is of so many images of the split, and may differ by more than the tolerances of the sheet.

    Raises:
        DataError: a mean or a standard deviation is too far from the published one.
    """
    faults = []
    for what, published, own, tolerance in (
        ("mean", sheet.published_mean, found.mean, sheet.published_tolerance[0]),
        ("standard deviation", sheet.published_std, found.std, sheet.published_tolerance[1]),
    ):
        allowed = max(tolerance, ROUGH) if sample else tolerance
        for name, expected, value in zip(sheet.bands.names, published or (), own, strict=bool(published)):
            stored = value / sheet.scale
            if abs(stored - expected) > allowed * abs(expected):
                faults.append(f"{name}: {what} {expected:.6g} expected within {100 * allowed:g} %, found {stored:.6g}")
    if faults:
        where = f"a sample of {sample} images" if sample else "train"
        raise DataError(
            f"{raw}: {where} is not as published: band {'; '.join(faults)}; check that these are the published files, "
            f"or accept them: add {sheet.name} to `unchecked` of the study in config.yaml (by hand: --no-check)"
        )


def _counts(sizes: dict[str, int]) -> str:
    return "/".join(str(sizes[split]) for split in SPLITS)
