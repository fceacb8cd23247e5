"""Checks of published files and their samples. Each error is one line with the file and what to do."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deflect.errors import DataError

#: The label of pixels that are not scored.
IGNORE = -1
#: Maximum size in bytes of one image in memory; the largest published one (HLS Burn Scars) has 6.3 MB.
LARGEST = 256 << 20


def find_root(folder: Path, marker: str, name: str) -> Path:
    """``folder`` if it contains ``marker``, else its only subfolder that does: archives have a top folder."""
    if (folder / marker).exists():
        return folder
    inside = sorted(path.parent for path in folder.glob(f"*/{marker}"))
    if len(inside) != 1:
        found = "several folders with it" if inside else "no such file or folder"
        raise DataError(f"{folder}: expected {marker}, found {found}; run `deflect data fetch {name}` or add the files")
    return inside[0]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of a file library about a missing or damaged file into a one-line ``DataError``."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{error.filename or path}: no such file; fetch or place the dataset again") from error
    except OSError as error:
        if path.exists() and not os.access(path, os.R_OK):
            raise DataError(f"{path}: permission denied; change its permissions") from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: damaged or cut short ({reason}); fetch or place the file again") from error


def refuse_large(shape: Sequence[int], dtype: Any, path: Path) -> None:
    """Call before reading pixels: a file of a few kB can state a size that fits in no memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > LARGEST:
        stated = " x ".join(map(str, shape))
        raise DataError(f"{path}: states {stated} values, {size / 1e9:.1f} GB; cut it into images of at most 0.25 GB")


def refuse_repeated(ids: Sequence[str], where: str) -> None:
    if len(set(ids)) < len(ids):
        repeated = next(name for name, count in Counter(ids).items() if count > 1)
        raise DataError(f"{where} lists {repeated!r} more than once; remove the repeated line or file")


def refuse_paths(ids: Sequence[str], where: Path) -> None:
    """Ids become file names; a path could point outside the dataset."""
    if paths := [name for name in ids if name in ("", ".", "..") or any(sign in name for sign in "/\\\0")]:
        raise DataError(f"{where}: expected names of samples, found {paths[0]!r}; fetch the file again")


def check_class(label: Any, classes: int, path: Path) -> int:
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        found = f"{np.size(label)} numbers" if np.ndim(label) else repr(label)
        raise DataError(f"{path}: expected an integer label, found {found}; write labels as whole numbers from 0")
    if not 0 <= label < classes:
        raise DataError(f"{path}: expected a label from 0 to {classes - 1}, found {label}; correct label or classes")
    return int(label)


def check_mask(mask: Any, classes: int, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """The mask as int8 (H, W), values -1 to classes - 1."""
    mask = np.asarray(mask)
    if mask.dtype.kind not in "iu":
        raise DataError(f"{path}: expected a mask of whole numbers, found {mask.dtype}; write it as an integer image")
    if mask.shape != shape:
        raise DataError(f"{path}: image of {shape} pixels but mask of {mask.shape}; cut both to the same pixels")
    if mask.min() < IGNORE or mask.max() >= classes:
        found = mask.min() if mask.min() < IGNORE else mask.max()
        raise DataError(f"{path}: expected classes 0 to {classes - 1} in the mask, found {found}; correct one of them")
    return mask.astype(np.int8)


def check_multilabel(label: Any, classes: int, path: Path) -> np.ndarray:
    """One 0 or 1 per class as uint8 (K,)."""
    label = np.asarray(label)
    if label.shape != (classes,):
        raise DataError(f"{path}: expected one 0 or 1 for each of {classes} classes, found shape {label.shape}")
    if not np.isin(label, (0, 1)).all():
        found = label[~np.isin(label, (0, 1))][0]
        raise DataError(f"{path}: expected labels of 0 (absent) or 1 (present), found {found}; correct the label")
    return label.astype(np.uint8)


def check_target(label: Any, path: Path) -> np.float32:
    """The number that a regression predicts of an image."""
    try:
        with np.errstate(over="ignore"):
            target = np.float32(label)
    except (TypeError, ValueError):
        target = np.float32("nan")
    if np.ndim(label) or not np.isfinite(target):
        raise DataError(f"{path}: expected one finite number as label, found {label!r}; correct it or leave it out")
    return target


def check_target_map(target: Any, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """The number for each pixel as float32 (H, W); NaN for none."""
    target = np.asarray(target)
    if target.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected an image of numbers as label, found {target.dtype}; write it as float32")
    if target.shape != shape:
        raise DataError(f"{path}: image of {shape} pixels but label of {target.shape}; cut both to the same pixels")
    with np.errstate(over="ignore"):
        target = target.astype(np.float32)
    if np.isinf(target).any():
        raise DataError(f"{path}: expected finite numbers, or NaN for none, found infinity; correct the label image")
    return target


def narrow(image: np.ndarray, path: Path) -> np.ndarray:
    """Floats as float32, integers of up to 16 bits unchanged."""
    if image.dtype.kind == "f":
        return image.astype(np.float32, copy=False)
    if image.dtype not in (np.uint8, np.int8, np.uint16, np.int16):
        raise DataError(f"{path}: pixels of type {image.dtype} are not read; store them as float32, uint8 or 16 bits")
    return image
