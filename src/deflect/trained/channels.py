"""Which channels of a scene are the bands of a model, and the reflectance of their values."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deflect.bands import BandSet
from deflect.data.card import ImageCard
from deflect.data.readers.band_names import agrees, meant
from deflect.data.readers.own.metadata import BRIGHT, same_scale
from deflect.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Channel:
    """A channel of an open file; (stored value + offset) * scale is reflectance."""

    path: Path
    file: Any  # an open rasterio dataset
    index: int  # in the file, from 1
    text: str  # what the file, or the user, calls it
    scale: float = 1.0
    offset: float = 0.0

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.file.dtypes[self.index - 1])

    @property
    def nodata(self) -> float | None:
        """The stored value without a measurement, by the file."""
        value: float | None = self.file.nodatavals[self.index - 1]
        return value


def match(channels: Sequence[Channel], bands: BandSet) -> list[Channel]:
    """The channel of each band: by name if all bands are named, else by order if there are as many channels.

    Raises:
        DataError: neither is possible, or a name contradicts the order.
    """
    meanings = [meant(channel.text, bands) for channel in channels]
    found = []
    for band in bands:
        named = [(len(meaning), place) for place, meaning in enumerate(meanings) if band.name in meaning]
        clearest = [place for count, place in named if count == min(named)[0]]  # `nir` may be two bands
        if len(clearest) > 1:
            texts = " and ".join(repr(channels[place].text) for place in clearest)
            raise _mismatch(channels, bands, f"{texts} may both be {band.name}")
        found += clearest
    if len(set(found)) == len(bands):
        return [channels[place] for place in found]
    if len(channels) != len(bands):
        raise _mismatch(channels, bands, f"{len(channels)} channels and not all bands by name")
    if not all(agrees(channel.text, band, bands) for channel, band in zip(channels, bands, strict=True)):
        raise _mismatch(channels, bands, "other bands by name")
    return list(channels)


def _mismatch(channels: Sequence[Channel], bands: BandSet, what: str) -> DataError:
    listed = ", ".join(channel.text or "(no name)" for channel in channels)
    return DataError(
        f"{channels[0].path}: expected the bands {', '.join(bands.names)} of the model, found {what}: {listed}; name "
        "one file per band (B2=a.tif B3=b.tif ...), or correct the descriptions of the file's bands"
    )


def calibrated(
    channels: Sequence[Channel], images: ImageCard, scale: ArrayLike | None, offset: ArrayLike | None
) -> list[Channel]:
    """The channels with scale and offset: as given (one number or one per band), of the file's tags, or of the card.

    Raises:
        DataError: another number of values than bands, or values of the pixel type that are too dark for a reflectance.
    """
    scales, offsets = (_each(values, len(channels), key) for values, key in ((scale, "scale"), (offset, "offset")))
    found, told = [], set()
    cards = (np.broadcast_to(values, len(channels)).tolist() for values in (images.scale, images.offset))
    for channel, given_scale, given_offset, own, shift in zip(channels, scales, offsets, *cards, strict=True):
        tags = channel.file.scales[channel.index - 1], channel.file.offsets[channel.index - 1]
        if tags != (1, 0) and not same_scale(tags, own, shift):
            if given_scale is None and given_offset is None and tags not in told:
                told.add(tags)
                log.info(
                    "%s: reflectance is stored * %.9g %+.9g by the file's tags; that of the training images was "
                    "(stored %+.9g) * %.9g", channel.path, *tags, shift, own
                )  # fmt: skip
            own, shift = tags[0], tags[1] / tags[0]
        own = own if given_scale is None else given_scale
        shift = shift if given_offset is None else given_offset
        _check_type(channel, own, shift)
        found.append(Channel(channel.path, channel.file, channel.index, channel.text, own, shift))
    return found


def _each(values: ArrayLike | None, count: int, key: str) -> list[float | None]:
    """One value for each of ``count`` bands."""
    if values is None:
        return [None] * count
    found = np.atleast_1d(values).tolist()
    if len(found) not in (1, count):
        raise DataError(f"{key}: expected one number or {count}, one per band of the model, found {len(found)}")
    return found * (count if len(found) == 1 else 1)


def _check_type(channel: Channel, scale: float, offset: float) -> None:
    if channel.dtype.kind not in "iuf":
        raise DataError(f"{channel.path}: expected pixels of whole or real numbers, found {channel.dtype}")
    if channel.dtype.kind != "f" and (brightest := (np.iinfo(channel.dtype).max + offset) * scale) < BRIGHT:
        raise DataError(
            f"{channel.path}: {channel.dtype} pixels reach a reflectance of {brightest:.3g} at most with scale "
            f"{scale:g} and offset {offset:g}; pass the scene's --scale and --offset (8 bits often have 1/255)"
        )
