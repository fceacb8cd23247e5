"""Compare the metadata of a GeoTIFF with ``card.yaml``. What a file does not state is taken from the card."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from deflect.bands import SENSORS, Band, BandSet
from deflect.data.readers.own_data_card import CARD, OwnDataCard
from deflect.data.readers.tiff import Tiff
from deflect.errors import DataError

#: Roles (letters of Spyndex) -> common names of bands with one of them, without spaces and punctuation.
NAMES = {
    "A": "coastal coastalaerosol",
    "B": "blue",
    "G": "green",
    "R": "red",
    "RE1": "rededge1",
    "RE2": "rededge2",
    "RE3": "rededge3",
    "N N2": "nir nir08 nearinfrared",
    "N2": "nirnarrow narrownir",
    "WV": "watervapour watervapor",
    "S1": "swir1 swir16",
    "S2": "swir2 swir22",
}
ROLES_OF = {name: roles.split() for roles, names in NAMES.items() for name in names.split()}
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
        "the order of bands": any(map(_word, image.names)),
        "scale and offset": tagged,
        "nodata": image.nodata is not None or image.hidden is not None,
        "the size of pixels": _metres(image) is not None,
    }
    return [name for name, stated in facts.items() if not stated]


def equal(pixels: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """Where pixels have one of the values; floats to 6 digits, since cards contain a printed -3.40282e+38."""
    found = np.zeros(pixels.shape, bool)
    for value in values:
        found |= np.isclose(pixels, value, rtol=1e-5, atol=0) if pixels.dtype.kind == "f" else pixels == value
    return found


def _word(text: str) -> str:
    """``SR_B4``, ``b04`` and ``B4_median`` are ``b4``; ``Red Edge 1`` is ``rededge1``; "" for anything else."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    whole = "".join(words)
    found = [f"b{match[1]}" for word in words if (match := re.fullmatch(r"b0*(\d+a?)", word))]
    found += [word for word in (whole, *words) if word in ROLES_OF]
    return "" if not found or ("edge" in whole and found[0] == "red") else found[0]


def _agrees(text: str, band: Band, bands: BandSet) -> bool:
    """Whether a description may mean this band; one that matches no band of the sensor may mean any."""
    everything = [*bands, *SENSORS.get(bands.sensor, ())]
    word, plain = _word(text), _plain(text)
    meant = [each.name for each in everything if plain == _plain(each.name)]
    meant = meant or [each.name for each in everything if word and word == _word(each.name)]
    meant = meant or [each.name for each in everything if each.role in ROLES_OF.get(word, ())]
    return not meant or band.name in meant


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def _check_names(image: Tiff, bands: BandSet, path: Path) -> None:
    """Compare the names of bands or, in a file without names, its colours."""
    if any(image.names):
        what, stated = "names its bands", image.names
    else:
        what = "has the colours"
        stated = tuple(name if name in ("red", "green", "blue") else "" for name in image.colours)
        if "alpha" in image.colours:
            channel = image.colours.index("alpha")
            raise DataError(
                f"{path}: channel {channel + 1} is transparency (alpha) in the file, {bands[channel].name} in {CARD}; "
                f"correct the card, or run `gdal_edit.py -colorinterp_{channel + 1} undefined FILE`"
            )
    if not all(_agrees(text, band, bands) for text, band in zip(stated, bands, strict=True)):
        listed = ", ".join(text or "(none)" for text in stated)
        raise DataError(
            f"{path}: the file {what} {listed}, {CARD} says {', '.join(bands.names)}; correct the card {UNTAGGED}"
        )


def _check_scale(image: Tiff, card: OwnDataCard, channels: list[int], path: Path) -> None:
    for channel in channels:
        scale, offset = image.scales[channel], image.offsets[channel]
        if (scale, offset) == (1, 0):
            continue
        own = card.offset * card.scale
        if not (np.isclose(scale, card.scale, rtol=1e-3) and abs(offset - own) < max(card.scale, 1e-6)):
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
    metres = _metres(image)
    if metres is not None and not GSD_RATIO[0] <= metres / card.gsd <= GSD_RATIO[1]:
        raise DataError(
            f"{path}: pixels of {metres:.3g} m by the file's coordinates, {CARD} says gsd {card.gsd:g} (in metres); "
            f"correct the card, or the place in the file {UNTAGGED}"
        )


def _metres(image: Tiff) -> float | None:
    """The longer side of the middle pixel in metres, whatever the unit of the coordinates; None if not stated."""
    if not image.crs or image.transform.is_identity:
        return None
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    row, column = (side / 2 for side in image.pixels.shape[1:])
    points = [image.transform @ place for place in ((column, row), (column + 1, row), (column, row + 1))]
    try:
        east, north = transform(image.crs, "EPSG:4326", *zip(*points, strict=True))
    except RasterioError:  # a local coordinate system
        return None
    x = np.radians(np.subtract(east[1:], east[0])) * np.cos(np.radians(north[0]))
    y = np.radians(np.subtract(north[1:], north[0]))
    side = float(np.hypot(x, y).max() * 6371e3)
    return side if np.isfinite(side) and side > 0 else None
