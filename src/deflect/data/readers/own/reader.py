"""Reads a user's own dataset, which ``card.yaml`` describes (docs/your_own_dataset.md).

The card names the files by patterns, the band of each channel, the kind of labels and the splits. What a file states
itself, such as names of bands or its place, must agree with the card.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Self

import numpy as np

from deflect.data.catalog import DatasetSheet
from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.checks import reading
from deflect.data.readers.own.card import CARD, read_card
from deflect.data.readers.own.files import find
from deflect.data.readers.own.image import ImageReader
from deflect.data.readers.own.listing import Listing
from deflect.data.readers.own.masks import read_mask
from deflect.data.readers.own.metadata import unstated
from deflect.data.readers.own.sheet import channels_of
from deflect.data.readers.raster import read_raster
from deflect.errors import DataError
from deflect.settings import SPLITS

log = logging.getLogger(__name__)


class OwnData(RawDataset):
    """One split of a user's own dataset."""

    marker = CARD

    def __init__(self, folder: Path, split: str, sheet: DatasetSheet, listing: Listing | None = None) -> None:
        self._listing = listing
        super().__init__(folder, split, sheet)

    @classmethod
    def every(cls, folder: Path, sheet: DatasetSheet) -> dict[str, Self]:
        first = cls(folder, SPLITS[0], sheet)
        return {split: first if split == first.split else cls(folder, split, sheet, first.listing) for split in SPLITS}

    def _list_ids(self) -> list[str]:
        self.card = read_card(self.folder / CARD)
        channels = channels_of(self.card, self.folder / CARD)
        units = self.sheet.calibration or ((self.sheet.scale, self.sheet.offset),) * len(channels.used)
        self.images = ImageReader(self.card, channels, units)
        self.listing = self._listing or Listing(self.folder, self.card, self.images)
        if self.split == SPLITS[0]:
            self.listing.note()
            self._note(self.listing.image(self.listing.members[self.split][0]).paths[0])
        return self.listing.members[self.split]

    def path(self, index: int) -> Path:
        return self.listing.image(self.ids[index]).paths[0]

    def label_path(self, index: int) -> Path:
        image = self.listing.image(self.ids[index])
        return image.mask or image.paths[0]

    def files(self) -> list[Path]:
        tables = [find(self.folder / self.card.labels)] if self.card.labels.endswith(".csv") else []
        images = [self.listing.image(name) for name in self.ids]
        paths = dict.fromkeys(
            path for image in images for path in (*image.paths, *([image.mask] if image.mask else []))
        )
        return [*paths, self.folder / CARD, *tables]

    def footprint(self, index: int) -> tuple[float, float, float, float] | None:
        corners = self.listing.corners(self.ids[index])
        return None if corners is None else (*corners.min(0).tolist(), *corners.max(0).tolist())

    def _read(self, index: int) -> Sample:
        image = self.listing.image(self.ids[index])
        pixels, whole = self.images.read(image.paths, image.window)
        label = image.label
        if image.mask is not None:
            with reading(image.mask):
                label = read_mask(image.mask, self.card, whole, image.paths[0], image.window)
        if image.window is not None:
            return pixels, label
        middle = self._middle(pixels, image.paths[0])
        return middle, label if image.mask is None else self._middle(label, image.mask)

    def _middle(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        """The square of the card's ``size`` in the middle of (..., H, W); all of a square image if it sets none."""
        height, width = pixels.shape[-2:]
        largest, size = min(height, width), self.card.size or max(height, width)
        if size > largest:
            raise DataError(f"{path}: {height} x {width} pixels; crop it, or set size: {largest} or less in {CARD}")
        top, left = (height - size) // 2, (width - size) // 2
        return pixels[..., top : top + size, left : left + size]

    def _note(self, first: Path) -> None:
        """Log, in one line each, what the first file does not state and what is taken from it."""
        with reading(first):
            raster = read_raster(first, (0, 0, 1, 1), [])
        if left := unstated(raster):
            log.info("%s: the file does not state %s; the values of %s are used", first, ", ".join(left), CARD)
        if self.card.scale is None:
            units = dict.fromkeys(self.images.units.values())
            listed = "; ".join(f"(stored {offset:+.9g}) * {scale:.9g}" for scale, offset in units)
            log.info("%s: reflectance is %s by the file's tags and %s", first, listed, CARD)
        if self.card.nodata is None and raster.nodata is not None:
            log.info("%s: pixels of %g are no measurement by the file's tag", first, raster.nodata)
        height, width = raster.whole.shape
        if self.card.size and self.card.stride is None and height * width > 1.2 * self.card.size**2:
            lost = f"{100 * (1 - self.card.size**2 / (height * width)):.0f} % of {height} x {width} pixels"
            log.warning("%s: size %d leaves out %s; set stride to cut it into squares", first, self.card.size, lost)
