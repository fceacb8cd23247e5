"""Writes images and masks in the formats that users have; each writer returns what a reader has to find.

Writers of images get digital numbers (C, H, W) of Sentinel-2 and return reflectance with NaN where the file says that
nothing was measured. Writers of masks get classes (H, W) with -1 for none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from own_data import write_tiff
from PIL import Image
from rasterio.enums import ColorInterp

SCALE = 1e-4
BYTE = 0.00392157  # of reflectance in 8 bits, 1 / 255
#: Colours of classes, and of no class.
COLOURS = {"field": [255, 200, 0], "forest": [0, 100, 0]}
NO_CLASS = [20, 20, 20]
WriteImage = Callable[[Path, np.ndarray], np.ndarray]
WriteMask = Callable[[Path, np.ndarray], Any]


def geotiff(path: Path, numbers: np.ndarray, **profile: Any) -> np.ndarray:
    write_tiff(path, numbers, **profile)
    return numbers * SCALE


def lossless(driver: str, options: dict[str, Any], path: Path, numbers: np.ndarray, **profile: Any) -> np.ndarray:
    """A format that GDAL writes as a copy of a file; its pixels, read again by rasterio, are the same."""
    first = path.with_name(f".{path.name}.tif")
    write_tiff(first, numbers, **profile)
    rasterio.shutil.copy(first, path, driver=driver, **options)
    first.unlink()
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), numbers)
    return numbers * SCALE


cog = partial(lossless, "COG", {"blocksize": 128, "compress": "deflate"})
jpeg2000 = partial(lossless, "JP2OpenJPEG", {"quality": 100, "reversible": "yes", "ycbcr420": "no"})


def bytes_of(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Reflectance in 8 bits."""
    pixels = (numbers // 16).astype(np.uint8)
    write_tiff(path, pixels, photometric="minisblack")  # GDAL would call the channels red, green, blue and alpha
    return pixels * BYTE


def png(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Red, green and blue of 8 bits without a place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (numbers[:3] // 16).astype(np.uint8)
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(path)
    return pixels * BYTE


def transparent_png(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Red, green, blue and transparency."""
    found = png(path, numbers)
    hidden = _hidden(numbers)
    colours = np.moveaxis((found / BYTE).round().astype(np.uint8), 0, -1)
    Image.fromarray(np.dstack([colours, np.where(hidden, 0, 255).astype(np.uint8)])).save(path)
    return np.where(hidden, np.nan, found)


def whole_numbers(path: Path, numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Digital numbers in a type with more bits than they need."""
    write_tiff(path, numbers.astype(dtype))
    return numbers * SCALE


def signed(path: Path, numbers: np.ndarray) -> np.ndarray:
    """int16 with some reflectance below 0."""
    pixels = numbers.astype(np.int16) - 600
    write_tiff(path, pixels)
    return pixels * SCALE


def floats(path: Path, numbers: np.ndarray) -> np.ndarray:
    """Reflectance as float32 with NaN in one band, and infinity in another."""
    pixels = (numbers * SCALE).astype(np.float32)
    pixels[0, 2, 3], pixels[2, 4, 5] = np.nan, np.inf
    write_tiff(path, pixels)
    return np.where(np.isfinite(pixels), pixels, np.nan)


def tagged(path: Path, numbers: np.ndarray, scales: tuple[float, ...], offsets: tuple[float, ...]) -> np.ndarray:
    """Scale and offset tags of each channel."""
    write_tiff(path, numbers)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = scales, offsets
    return numbers * np.reshape(scales, (-1, 1, 1)) + np.reshape(offsets, (-1, 1, 1))


def with_nodata(path: Path, numbers: np.ndarray, values: tuple[int, ...], **profile: Any) -> np.ndarray:
    """Some pixels have one of the values."""
    numbers, found = numbers.copy(), numbers * SCALE
    for place, value in enumerate(values):
        numbers[place, :3, 4:7], found[place, :3, 4:7] = value, np.nan
    write_tiff(path, numbers, **profile)
    return found


def _hidden(numbers: np.ndarray) -> np.ndarray:
    hidden = np.zeros(numbers.shape[1:], bool)
    hidden[:4, 3:9] = True
    return hidden


def masked(path: Path, numbers: np.ndarray, internal: bool) -> np.ndarray:
    """A mask of all bands, in the file or in a file .msk beside it."""
    write_tiff(path, numbers)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        file.write_mask(~_hidden(numbers))
    assert path.with_name(f"{path.name}.msk").exists() != internal
    return np.where(_hidden(numbers), np.nan, numbers * SCALE)


def transparent(path: Path, numbers: np.ndarray) -> np.ndarray:
    """A last channel of transparency (alpha)."""
    hidden = _hidden(numbers)
    write_tiff(path, np.concatenate([numbers, np.where(hidden, 0, 65535).astype(np.uint16)[None]]))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (len(numbers) - 1), ColorInterp.alpha]
    return np.where(hidden, np.nan, numbers * SCALE)


# ---------------------------------------------------------------------- masks


def mask(
    path: Path, classes: np.ndarray, first: int = 0, none: int = 255, dtype: str = "uint8", **profile: Any
) -> None:
    write_tiff(path, np.where(classes < 0, none, classes + first).astype(dtype)[None], **profile)


def grey_png(path: Path, classes: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(classes < 0, 255, classes).astype(np.uint8)).save(path)


def float_mask(path: Path, classes: np.ndarray) -> None:
    write_tiff(path, np.where(classes < 0, np.nan, classes).astype(np.float32)[None])


def _coloured(classes: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) of classes."""
    return np.array([*COLOURS.values(), NO_CLASS], np.uint8)[classes]


def colour_png(path: Path, classes: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_coloured(classes)).save(path)


def transparent_colour_png(path: Path, classes: np.ndarray) -> None:
    """Transparent where there is no class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    alpha = np.where(classes < 0, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([_coloured(np.maximum(classes, 0)), alpha])).save(path)


def colour_geotiff(path: Path, classes: np.ndarray) -> None:
    write_tiff(path, np.moveaxis(_coloured(classes), -1, 0), photometric="RGB")


#: Values of a palette for the classes and for none, in another order than the classes.
VALUES = np.array([9, 4, 6], np.uint8)
PALETTE = {int(value): (*colour, 255) for value, colour in zip(VALUES, [*COLOURS.values(), NO_CLASS], strict=True)}


def palette_geotiff(path: Path, classes: np.ndarray) -> None:
    write_tiff(path, VALUES[classes][None], photometric="palette")
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, PALETTE)


def palette_png(path: Path, classes: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(VALUES[classes], "P")
    picture.putpalette([part for value in range(256) for part in PALETTE.get(value, (0, 0, 0))[:3]])
    picture.save(path)


def masked_mask(path: Path, classes: np.ndarray) -> None:
    """An internal mask says where there is no class."""
    write_tiff(path, np.maximum(classes, 0).astype(np.uint8)[None])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(classes >= 0)


def numbers_mask(path: Path, values: np.ndarray, none: float = np.nan, **profile: Any) -> None:
    """A number per pixel, float32, with NaN in ``values`` written as ``none``."""
    write_tiff(path, np.where(np.isnan(values), none, values).astype(np.float32)[None], **profile)
