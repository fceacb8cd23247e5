"""Reads a user's own dataset, which ``card.yaml`` describes (docs/your_own_dataset.md).

The card names the files by patterns, the band of each channel, the kind of labels and the splits. What a file states
itself, such as names of bands or its place, must agree with the card.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.checks import reading
from deflect.data.readers.own.card import CARD, OwnCard, read_card
from deflect.data.readers.own.files import find
from deflect.data.readers.own.image import ImageReader, middle
from deflect.data.readers.own.listing import Listing
from deflect.data.readers.own.masks import read_mask
from deflect.data.readers.own.metadata import unstated
from deflect.data.readers.own.sheet import channels_of
from deflect.data.readers.raster import read_raster
from deflect.settings import SPLITS

log = logging.getLogger(__name__)


class OwnData(RawDataset):
    """One split of a user's own dataset."""

    marker = CARD

    shared: Listing | None

    def _list_ids(self) -> list[str]:
        card = read_card(self.folder / CARD)
        assert isinstance(card, OwnCard)
        self.card = card
        channels = channels_of(self.card, self.folder / CARD)
        units = self.sheet.calibration or ((self.sheet.scale, self.sheet.offset),) * len(channels.used)
        self.images = ImageReader(self.card, channels, units)
        self.listing = self.shared = self.shared or Listing(self.folder, self.card, self.images)
        if self.split == SPLITS[0]:
            self.listing.note()
            self._note(self.listing.image(self.listing.members[self.split][0]).paths[0])
        return self.listing.members[self.split]

    def path(self, index: int) -> Path:
        return self.listing.image(self.ids[index]).paths[0]

    def label_path(self, index: int) -> Path:
        image = self.listing.image(self.ids[index])
        return image.mask or image.paths[0]

    def files(self) -> Iterable[Path | str]:
        seen = ""  # squares of a scene follow each other
        for name in self.ids:
            if (base := self.listing.base(name)) != seen:
                image, seen = self.listing.image(name), base
                yield from (*image.paths, *([image.mask] if image.mask else []))
        yield self.folder / CARD
        if self.card.labels.endswith(".csv"):
            yield find(self.folder / self.card.labels)

    def part(self, start: int, stop: int) -> Self:
        part = super().part(start, stop)
        part.listing = part.shared = self.listing.part(part.ids)
        return part

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
        size = self.card.size
        return middle(pixels, size, image.paths[0]), label if image.mask is None else middle(label, size, image.mask)

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
