"""Read a mask of a user's own dataset: classes, colours of classes, or numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deflect.data.readers.checks import IGNORE
from deflect.data.readers.own.card import CARD, OwnCard
from deflect.data.readers.own.metadata import check_nodata, check_place, equal
from deflect.data.readers.raster import Grid, Raster, Window, read_raster
from deflect.errors import DataError

#: Bits of red, green and blue in one number.
SHIFTS = np.array([16, 8, 0])


def read_mask(path: Path, card: OwnCard, image: Grid, image_path: Path, window: Window | None) -> np.ndarray:
    """Classes from 0 with -1 for none or, for a regression, float32 with NaN for none; (H, W).

    Args:
        image: the grid of the whole image.

    Raises:
        DataError: the mask has another grid or other values than the card says.
    """
    mask = read_raster(path, window)
    if mask.whole.shape != image.shape:
        shapes = f"expected a mask of {_shape(image)} pixels like its image, found {_shape(mask.whole)}"
        remedy = "cut both to the same pixels"
        if mask.whole.crs and image.crs:
            remedy += f", e.g. `rio warp {path.name} NEW.tif --like {image_path.name} --resampling nearest`"
        raise DataError(f"{path}: {shapes}; {remedy}")
    check_place(mask.whole, image, path, image_path)
    if card.colours is not None:
        return _hide(_classes_of_colours(mask, card, path), mask)
    if len(mask.pixels) != 1:
        raise DataError(
            f"{path}: expected a mask of one band, found {len(mask.pixels)}; write one band, or give the colour of "
            f"each class as `colours` in {CARD}"
        )
    if card.task == "pixel_regression":
        return _numbers(mask, card)
    return _hide(_classes(mask, card, path), mask)


def _shape(grid: Grid) -> str:
    return " x ".join(map(str, grid.shape))


def _hide(labels: np.ndarray, mask: Raster) -> np.ndarray:
    """``labels`` without those of pixels that the file excludes."""
    return labels if mask.hidden is None else np.where(mask.hidden, IGNORE, labels)


def _classes(mask: Raster, card: OwnCard, path: Path) -> np.ndarray:
    ignored = () if card.ignore is None else (card.ignore,)
    check_nodata(mask, ignored, "ignore", path)
    labels, unlabelled = mask.pixels[0], equal(mask.pixels[0], ignored)
    if labels.dtype.kind == "f":
        unlabelled |= ~np.isfinite(labels)
        whole = np.where(unlabelled, 0, labels)
        if not (whole == np.rint(whole)).all():
            raise DataError(f"{path}: expected a mask of whole numbers, found {whole[whole != np.rint(whole)][0]:g}; "
                            "write classes as integers")  # fmt: skip
        labels = whole
    _check_range(labels[~unlabelled], card, path)
    return np.where(unlabelled, IGNORE, labels.astype(np.int32) - card.label_offset)


def _check_range(labels: np.ndarray, card: OwnCard, path: Path) -> None:
    """Refuse labels that are no class, with what is mostly behind it."""
    low, high = card.label_offset, card.label_offset + len(card.names) - 1
    if not labels.size or (labels.min() >= low and labels.max() <= high):
        return
    found = int(labels.min() if labels.min() < low else labels.max())
    remedy = f"set ignore: {found} in {CARD} if it means no label, else correct the mask or classes"
    if labels.min() > low and found == high + 1:
        remedy = f"set label_offset: {low + 1} in {CARD} if classes count from {low + 1}, else correct the mask"
    raise DataError(f"{path}: expected classes {low} to {high} in the mask, found {found}; {remedy}")


def _classes_of_colours(mask: Raster, card: OwnCard, path: Path) -> np.ndarray:
    """Classes of a mask that is a picture of them, with a palette or with red, green and blue."""
    assert card.colours is not None
    if mask.palette:
        pixels = np.array([mask.palette.get(value, (-1, -1, -1)) for value in range(256)])[mask.pixels[0]]
    elif len(mask.pixels) >= 3:
        pixels = np.moveaxis(mask.pixels[:3], 0, -1)
    else:
        raise DataError(f"{path}: expected a palette or three bands, since {CARD} has colours, found one band of "
                        "numbers; remove colours")  # fmt: skip
    found = (pixels.astype(np.int64) << SHIFTS).sum(-1)
    labels = np.full(found.shape, IGNORE - 1)
    for number, colour in enumerate(card.colours.values()):
        labels[found == int((np.array(colour) << SHIFTS).sum())] = number
    if isinstance(card.ignore, tuple):
        labels[found == int((np.array(card.ignore) << SHIFTS).sum())] = IGNORE
    if (labels < IGNORE).any():
        other = pixels[labels < IGNORE][0].tolist()
        share = 100 * (labels < IGNORE).mean()
        raise DataError(
            f"{path}: {share:.3g} % of the pixels have a colour that {CARD} does not list, e.g. {other}; add it to "
            "colours, or set ignore to it (JPEG changes colours)"
        )
    return labels


def _numbers(mask: Raster, card: OwnCard) -> np.ndarray:
    values = mask.pixels[0].astype(np.float32)
    known = [value for value in (card.ignore, mask.nodata) if isinstance(value, (int, float))]
    missing = equal(mask.pixels[0], tuple(map(float, known))) | ~np.isfinite(values)
    if mask.hidden is not None:
        missing |= mask.hidden
    return np.where(missing, np.float32(np.nan), values)
