"""Reads a dataset of torchgeo, which ``torchgeo`` in ``card.yaml`` names (docs/your_own_dataset.md).

torchgeo's class finds and reads the files. The card says what its samples mean, since they do not state it: the band of
each channel, the unit and the labels.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Self

import numpy as np

from deflect.data.catalog import DatasetSheet
from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.own.card import CARD, TorchgeoCard, read_card
from deflect.data.readers.own.files import is_hidden, walk
from deflect.data.readers.own.image import middle
from deflect.data.readers.own.metadata import BRIGHT, equal
from deflect.data.readers.own.sheet import channels_of
from deflect.data.readers.own.torchgeo_labels import key_of, label_of
from deflect.data.readers.own.torchgeo_source import Source, one_line
from deflect.errors import DataError
from deflect.settings import PIXEL_TASKS, SPLITS

log = logging.getLogger(__name__)

#: Integers that stores keep; others become float32.
SHORT = (np.uint8, np.int8, np.uint16, np.int16)
#: The largest value of 8 bits.
BITS_8 = 255


class TorchgeoData(RawDataset):
    """One split of a dataset of torchgeo."""

    marker = CARD

    shared: Source | None

    def __init__(self, folder: Path, split: str, sheet: DatasetSheet, shared: Source | None = None) -> None:
        super().__init__(folder, split, sheet, shared)
        if split == SPLITS[0]:
            self._note()

    def _list_ids(self) -> list[str]:
        card = read_card(self.folder / CARD)
        assert isinstance(card, TorchgeoCard)
        self.card, self.channels = card, channels_of(card, self.folder / CARD)
        self.source = self.shared = self.shared or Source(self.folder, card)
        self.places = self.source.places(self.split)
        return list(self.places)

    def path(self, index: int) -> Path:
        """The image's file or, if torchgeo does not state it, a name for messages."""
        named = self.folder / self.ids[index]
        name, number = self.places[self.ids[index]]
        opened = f"{self.card.torchgeo}({'' if name is None else f'split={name!r}'})"
        return named if named.is_file() else self.folder / f"torchgeo.datasets.{opened}[{number}]"

    def files(self) -> list[Path]:
        """All files of the folder: torchgeo does not state which of them a split is read from."""
        return [self.folder / path for path in walk(self.folder) if not is_hidden(path)]

    def part(self, start: int, stop: int) -> Self:
        part = super().part(start, stop)
        part.places = {name: self.places[name] for name in part.ids}
        return part

    def _read(self, index: int) -> Sample:
        sample, path = self._sample(index), self.path(index)
        stored, key = self._stored(sample, path), key_of(self.card, sample)
        label = label_of(self._value(sample, key, path), key, self.card, path)
        image = middle(self._pixels(stored), self.card.size, path)
        if self.card.task not in PIXEL_TASKS:
            return image, label
        if label.shape != stored.shape[1:]:
            raise DataError(f"{path}: image of {stored.shape[1:]} pixels but mask of {label.shape}; torchgeo's sample "
                            "cannot be used for this task")  # fmt: skip
        return image, middle(label, self.card.size, path)

    def _sample(self, index: int) -> dict[str, Any]:
        """What torchgeo returns for an image."""
        name, number = self.places[self.ids[index]]
        dataset = self.source.open(name)
        with one_line(f"{self.path(index)}: torchgeo cannot read the sample"):
            return dict(dataset[number])

    def _note(self) -> None:
        """Log what is taken from the card, and a scale that cannot be that of 8-bit pixels."""
        facts = "bands, scale, offset, nodata and the size of pixels"
        log.info("%s: torchgeo does not state %s; the values of %s are used", self.folder, facts, CARD)
        first, scale = self._stored(self._sample(0), self.path(0)), self.sheet.scale
        if first.max() <= BITS_8 and (first == np.rint(first)).all() and scale * BITS_8 < BRIGHT:
            what = f"values to {first.max():g}, which are dark at scale {scale:g}"
            log.warning("%s: %s; if they have 8 bits, the scale is 0.00392157 (1/255)", self.path(0), what)

    def _value(self, sample: dict[str, Any], key: str, path: Path) -> np.ndarray:
        if key not in sample:
            what = f"task {self.card.task} needs {key!r} in the sample, found {', '.join(sample)}"
            raise DataError(f"{path}: {what}; correct task, image, label or splits in {CARD}")
        return np.array(sample[key])  # a copy: some classes keep what they return

    def _stored(self, sample: dict[str, Any], path: Path) -> np.ndarray:
        """The channels in use, as torchgeo returns them."""
        image, channels = self._value(sample, self.card.image, path), self.channels
        if image.ndim != 3:
            what = f"expected an image of (channels, height, width), found shape {image.shape}"
            raise DataError(f"{path}: {what}; a time series is not read: choose one image with arguments in {CARD}")
        if len(image) != len(channels.all):
            what = f"expected {len(channels.all)} channels, as bands lists, found {len(image)}"
            raise DataError(f"{path}: {what}; correct bands, or arguments, in {CARD}")
        image = image[list(channels.used)]
        return image if image.dtype in SHORT else image.astype(np.float32)

    def _pixels(self, stored: np.ndarray) -> np.ma.MaskedArray:
        """Stored value + offset, or reflectance if bands have different scales; masked where nothing was measured."""
        pixels, missing = stored, equal(stored, self.card.missing) | ~np.isfinite(stored)
        if self.sheet.calibration:
            scale, offset = np.array(self.sheet.calibration, np.float32).T[:, :, None, None]
            pixels = (stored.astype(np.float32) + offset) * scale
        elif self.sheet.offset:
            pixels = stored.astype(np.float32) + np.float32(self.sheet.offset)
        return np.ma.MaskedArray(pixels, missing)
