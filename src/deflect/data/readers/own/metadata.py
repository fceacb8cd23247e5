"""Compare the metadata of a file with ``card.yaml``. What a file does not state is taken from the card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deflect.bands import Band, BandSet
from deflect.data.readers.band_names import agrees, names_a_band, stated
from deflect.data.readers.own.card import CARD
from deflect.data.readers.raster import Grid, OpenRaster, Raster, metres
from deflect.errors import DataError

#: Allowed ratio of the pixel size on the ground to the card's ``gsd``; degrees and projections distort it a little.
GSD_RATIO = (0.8, 1.25)
#: Minimum reflectance of the largest value of the pixel type.
BRIGHT = 0.05
#: Maximum distance between the corners of a mask and its image, in pixels.
SHIFT = 0.1
UNTAGGED = "(gdal_edit.py changes the metadata of a file)"


def check_names(file: OpenRaster, bands: Sequence[Band | None], stored: BandSet) -> None:
    """Compare the number of channels, and their names or, in a file without names, their colours.

    Args:
        bands: of all channels of the file; None for one that is no band.
        stored: all bands of the dataset's files.
    """
    path, names, colours = file.path, file.names, file.colours
    if "alpha" in colours and len(colours) == len(bands) + 1:  # transparency besides the bands is a mask
        channel = colours.index("alpha")
        names, colours = (values[:channel] + values[channel + 1 :] for values in (names, colours))
    if len(names) != len(bands):
        remedy = " (if each band has a file of its own, put {band} into images)" if len(names) == 1 else ""
        listed = f"{len(bands)} band{'s' * (len(bands) > 1)}"
        raise DataError(f"{path}: {CARD} lists {listed}, the file has {len(names)}; correct either{remedy}")
    if not any(names) and "alpha" in colours:
        channel = colours.index("alpha")
        band = bands[channel]
        raise DataError(
            f"{path}: channel {channel + 1} is transparency (alpha) in the file, {band.name if band else 'null'} in "
            f"{CARD}; correct the card, or run `gdal_edit.py -colorinterp_{channel + 1} undefined FILE`"
        )
    texts = stated(names, colours)
    if not all(agrees(text, band, stored) for text, band in zip(texts, bands, strict=True) if band is not None):
        what = "names its bands" if any(names) else "has the colours"
        listed = ", ".join(text or "(none)" for text in texts)
        wanted = ", ".join(band.name if band else "null" for band in bands)
        raise DataError(f"{path}: the file {what} {listed}, {CARD} says {wanted}; correct the card {UNTAGGED}")


def check_nodata(image: Raster, known: tuple[float, ...], key: str, path: Path) -> None:
    """Refuse pixels of a value that the file calls nodata and the card does not."""
    value = image.nodata
    if value is None or equal(np.asarray(value), known).any() or not equal(image.pixels, (value,)).any():
        return
    found = int(value) if value.is_integer() else value
    remedy = f"add it to {key} in {CARD}, or take it out of the file {UNTAGGED}"
    if not np.isfinite(value):
        remedy = f"add .nan to {key} in {CARD}"
    raise DataError(f"{path}: the file says nodata is {found!r} and has such pixels; {remedy}")


def check_scale(tags: tuple[float, float], scale: float, offset: float, path: Path) -> None:
    """Compare the scale and offset tags of a channel with the dataset's."""
    if tags == (1, 0) or same_scale(tags, scale, offset):
        return
    raise DataError(
        f"{path}: the file has the value stored * {tags[0]:.9g} {tags[1]:+.9g}, {CARD} (stored {offset:+.9g}) * "
        f"{scale:.9g}; to use the file's, set scale: {tags[0]:.9g} and offset: {tags[1] / tags[0]:.9g} {UNTAGGED}"
    )


def check_type(dtype: np.dtype, scale: float, offset: float, path: Path) -> None:
    """Refuse a pixel type whose largest value is dark."""
    if dtype.kind not in "iu":
        return
    brightest = (np.iinfo(dtype).max + offset) * scale
    if brightest < BRIGHT:
        raise DataError(
            f"{path}: {dtype} pixels reach a reflectance of {brightest:.3g} at most with scale {scale:g} and offset "
            f"{offset:g}; correct the scale in {CARD} (8 bits often have 1/255)"
        )


def check_gsd(grid: Grid, gsd: float, path: Path) -> None:
    side = metres(grid)
    if side is not None and not is_gsd(side, gsd):
        raise DataError(
            f"{path}: pixels of {side:.3g} m by the file's coordinates, {CARD} says gsd {gsd:g} (in metres); "
            f"correct the card, or the place in the file {UNTAGGED}"
        )


def check_place(mask: Grid, image: Grid, path: Path, image_path: Path) -> None:
    """Compare the corners of a mask with those of its image, in pixels, whatever their coordinate systems."""
    found = shift(mask, image)
    if found is not None and not found <= SHIFT:
        what = "" if mask.crs == image.crs else " (in another coordinate system)"
        raise DataError(
            f"{path}: a corner is {found:.3g} pixels from that of its image{what}; warp the mask to the image's grid: "
            f"`rio warp {path.name} NEW.tif --like {image_path.name} --resampling nearest`"
        )


def shift(grid: Grid, other: Grid) -> float | None:
    """Distance between the corners of two grids in pixels of the ``other``; None if one of them has no place.

    Raises:
        DataError: no transformation between the coordinate systems is known.
    """
    if grid.transform.is_identity or other.transform.is_identity:
        return None
    corners = grid.corners
    if grid.crs and other.crs and grid.crs != other.crs:
        from rasterio.errors import RasterioError
        from rasterio.warp import transform

        try:
            corners = list(zip(*transform(grid.crs, other.crs, *zip(*corners, strict=True)), strict=True))
        except RasterioError:
            return float("inf")
    found = np.array([~other.transform @ corner for corner in corners])
    expected = np.array([~other.transform @ corner for corner in other.corners])
    return float(np.abs(found - expected).max())


def unstated(image: Raster) -> list[str]:
    """The facts that the file does not state."""
    tagged = image.scales != (1,) * len(image.scales) or image.offsets != (0,) * len(image.offsets)
    facts = {
        "the order of bands": any(map(names_a_band, image.names)),
        "scale and offset": tagged,
        "nodata": image.nodata is not None or image.hidden is not None,
        "the size of pixels": metres(image.whole) is not None,
    }
    return [name for name, stated in facts.items() if not stated]


def is_gsd(side: float, gsd: float) -> bool:
    return GSD_RATIO[0] <= side / gsd <= GSD_RATIO[1]


def equal(pixels: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """Where pixels have one of the values; floats to 6 digits, since cards contain a printed -3.40282e+38."""
    found = np.zeros(pixels.shape, bool)
    for value in values:
        found |= np.isclose(pixels, value, rtol=1e-5, atol=0) if pixels.dtype.kind == "f" else pixels == value
    return found


def same_scale(tags: tuple[float, float], scale: float, offset: float) -> bool:
    """Whether stored * tags[0] + tags[1] of a file is (stored + offset) * scale of a card, apart from rounding."""
    return bool(np.isclose(tags[0], scale, rtol=1e-3) and abs(tags[1] - offset * scale) < max(scale, 1e-6))
