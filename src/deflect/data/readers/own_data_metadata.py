"""Compare the metadata of a GeoTIFF with ``card.yaml``. What a file does not state is taken from the card."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deflect.bands import BandSet
from deflect.data.readers.band_names import agrees, names_a_band, stated
from deflect.data.readers.own_data_card import CARD, OwnDataCard
from deflect.data.readers.tiff import Tiff, metres
from deflect.errors import DataError

#: Allowed ratio of the pixel size on the ground to the card's ``gsd``; degrees and projections distort it a little.
GSD_RATIO = (0.8, 1.25)
#: Minimum reflectance of the largest value of the pixel type.
BRIGHT = 0.05
#: Maximum distance between the corners of a mask and its image, in pixels.
SHIFT = 0.1
UNTAGGED = "(gdal_edit.py changes the metadata of a file)"


def check_image(image: Tiff, card: OwnDataCard, bands: BandSet, channels: list[int], path: Path) -> None:
    """Compare an image with the card.

    Args:
        bands: of all channels of the file.
        channels: those that the dataset uses.
    """
    if len(image.pixels) != len(bands):
        raise DataError(f"{path}: {CARD} lists {len(bands)} bands, the file has {len(image.pixels)}; correct either")
    _check_names(image, bands, path)
    _check_scale(image, card, channels, path)
    _check_type(image, card, path)
    _check_gsd(image, card, path)


def check_nodata(image: Tiff, known: tuple[float, ...], key: str, path: Path) -> None:
    """Refuse pixels of a value that the file calls nodata and the card does not."""
    value = image.nodata
    if value is None or equal(np.asarray(value), known).any() or not equal(image.pixels, (value,)).any():
        return
    found = int(value) if value.is_integer() else value
    remedy = f"add it to {key} in {CARD}, or take it out of the file {UNTAGGED}"
    if not np.isfinite(value):
        remedy = f"add .nan to {key} in {CARD}"
    raise DataError(f"{path}: the file says nodata is {found!r} and has such pixels; {remedy}")


def check_place(mask: Tiff, image: Tiff, path: Path) -> None:
    """Compare the corners of a mask with those of its image, in pixels, whatever the unit of the coordinates."""
    if mask.crs and image.crs and mask.crs != image.crs:
        raise DataError(f"{path}: coordinate system differs from its image's; warp the mask to the image's grid")
    if mask.transform.is_identity or image.transform.is_identity:
        return
    height, width = image.pixels.shape[1:]
    for corner in ((0, 0), (width, 0), (0, height), (width, height)):
        column, row = ~image.transform @ (mask.transform @ corner)
        shift = max(abs(column - corner[0]), abs(row - corner[1]))
        if not shift <= SHIFT:
            found = f"a corner is {shift:.3g} pixels from that of its image"
            raise DataError(f"{path}: {found}; warp the mask to the image's grid")


def unstated(image: Tiff) -> list[str]:
    """The facts that the file does not state."""
    tagged = image.scales != (1,) * len(image.scales) or image.offsets != (0,) * len(image.offsets)
    facts = {
        "the order of bands": any(map(names_a_band, image.names)),
        "scale and offset": tagged,
        "nodata": image.nodata is not None or image.hidden is not None,
        "the size of pixels": metres(image.crs, image.transform, image.pixels.shape[1:]) is not None,
    }
    return [name for name, stated in facts.items() if not stated]


def equal(pixels: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """Where pixels have one of the values; floats to 6 digits, since cards contain a printed -3.40282e+38."""
    found = np.zeros(pixels.shape, bool)
    for value in values:
        found |= np.isclose(pixels, value, rtol=1e-5, atol=0) if pixels.dtype.kind == "f" else pixels == value
    return found


def same_scale(tags: tuple[float, float], scale: float, offset: float) -> bool:
    """Whether stored * tags[0] + tags[1] of a file is (stored + offset) * scale of a card, apart from rounding."""
    return bool(np.isclose(tags[0], scale, rtol=1e-3) and abs(tags[1] - offset * scale) < max(scale, 1e-6))


def _check_names(image: Tiff, bands: BandSet, path: Path) -> None:
    """Compare the names of bands or, in a file without names, its colours."""
    if not any(image.names) and "alpha" in image.colours:
        channel = image.colours.index("alpha")
        raise DataError(
            f"{path}: channel {channel + 1} is transparency (alpha) in the file, {bands[channel].name} in {CARD}; "
            f"correct the card, or run `gdal_edit.py -colorinterp_{channel + 1} undefined FILE`"
        )
    names = stated(image.names, image.colours)
    if not all(agrees(text, band, bands) for text, band in zip(names, bands, strict=True)):
        what = "names its bands" if any(image.names) else "has the colours"
        listed = ", ".join(text or "(none)" for text in names)
        raise DataError(
            f"{path}: the file {what} {listed}, {CARD} says {', '.join(bands.names)}; correct the card {UNTAGGED}"
        )


def _check_scale(image: Tiff, card: OwnDataCard, channels: list[int], path: Path) -> None:
    for channel in channels:
        scale, offset = image.scales[channel], image.offsets[channel]
        if (scale, offset) == (1, 0):
            continue
        if not same_scale((scale, offset), card.scale, card.offset):
            raise DataError(
                f"{path}: the file has the value stored * {scale:.9g} {offset:+.9g}, {CARD} (stored "
                f"{card.offset:+.9g}) * {card.scale:.9g}; to use the file's, set scale: {scale:.9g} and "
                f"offset: {offset / scale:.9g} {UNTAGGED}"
            )


def _check_type(image: Tiff, card: OwnDataCard, path: Path) -> None:
    if image.pixels.dtype.kind not in "iu":
        return
    brightest = (np.iinfo(image.pixels.dtype).max + card.offset) * card.scale
    if brightest < BRIGHT:
        raise DataError(
            f"{path}: {image.pixels.dtype} pixels reach a reflectance of {brightest:.3g} at most with scale "
            f"{card.scale:g} and offset {card.offset:g}; correct the scale in {CARD} (8 bits often have 1/255)"
        )


def _check_gsd(image: Tiff, card: OwnDataCard, path: Path) -> None:
    side = metres(image.crs, image.transform, image.pixels.shape[1:])
    if side is not None and not GSD_RATIO[0] <= side / card.gsd <= GSD_RATIO[1]:
        raise DataError(
            f"{path}: pixels of {side:.3g} m by the file's coordinates, {CARD} says gsd {card.gsd:g} (in metres); "
            f"correct the card, or the place in the file {UNTAGGED}"
        )
