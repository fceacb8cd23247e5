"""A user's own data: GeoTIFFs beside a ``card.yaml``.

    labels: folders      <class>/<name>.tif
    labels: labels.csv   images/<name>.tif and a table with the columns image, label and, if it makes the splits, split
    labels: masks        images/<name>.tif and masks/<name>.tif, values 0, 1, ... or the card's ``ignore``

The card says which channel is which band; where a file names its own bands, the two must agree.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np

from deflect.data.card import SPLITS
from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.faults import ReadError
from deflect.data.readers.folder_card import CARD, read_card, stored_bands
from deflect.data.readers.folder_tables import drawn, read_ids, read_table, tiffs
from deflect.data.readers.tiff import Tiff, read_tiff

log = logging.getLogger(__name__)


class Folder(RawDataset):
    """One split of a user's own dataset."""

    marker = CARD

    def _list_ids(self) -> list[str]:
        self.card = read_card(self.folder / CARD)
        self.stored = stored_bands(self.card, self.folder / CARD)
        self.channels = [self.stored.channel(name) for name in self.sheet.bands.names]
        self._labels: dict[str, int] = {}
        self._masks: dict[str, Path] = {}
        self._table: dict[str, tuple[int, str]] = {}
        if self.card.labels == "folders":
            self._files = self._class_files()
            return sorted(self._members())
        self._files = tiffs(self.folder / "images")
        if self.card.labels == "masks":
            self._masks = self._mask_files()
        else:
            with_split = self.card.splits == "column"
            self._table = read_table(self.folder / self.card.labels, self._files, self.sheet.classes, with_split)
            self._labels = {name: label for name, (label, _) in self._table.items()}
        return sorted(self._members())

    def path(self, index: int) -> Path:
        return self._files[self.ids[index]]

    def label_path(self, index: int) -> Path:
        return self._masks.get(self.ids[index], self.path(index))

    def files(self) -> list[Path]:
        tables = [self.folder / self.card.labels] if self.card.labels.endswith(".csv") else []
        return [*super().files(), self.folder / CARD, *tables]

    def _read(self, index: int) -> Sample:
        name, path = self.ids[index], self.path(index)
        image = read_tiff(path)
        self._check_bands(image, path)
        self._check_nodata(image, path)
        pixels = self._shifted(image.pixels[self.channels])
        label = self._labels.get(name)
        return self._middle(pixels, path), label if label is not None else self._middle(self._mask(name, image), path)

    def _middle(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        """The card's ``size`` of square pixels from the middle of (..., H, W); everything where it gives none."""
        height, width = pixels.shape[-2:]
        size = self.card.size
        if size is None and height == width:
            return pixels
        if size is None or min(height, width) < size:
            largest = min(height, width)
            raise ReadError(f"{path}: {height} x {width} pixels; cut it anew, or set size: {largest} or less in {CARD}")
        top, left = (height - size) // 2, (width - size) // 2
        return pixels[..., top : top + size, left : left + size]

    def _shifted(self, pixels: np.ndarray) -> np.ndarray:
        """Stored value + offset as float32, with NaN where nodata was; unchanged where there is no offset."""
        if not self.card.offset:
            return pixels
        missing = np.isin(pixels, self.sheet.nodata)
        return np.where(missing, np.nan, pixels.astype(np.float32) + np.float32(self.card.offset))

    def _check_bands(self, image: Tiff, path: Path) -> None:
        names = self.stored.names
        if len(image.pixels) != len(names):
            raise ReadError(
                f"{path}: {CARD} lists {len(names)} bands, the file has {len(image.pixels)}; correct one of them"
            )
        own, listed = ([_plain(name) for name in some] for some in (image.names, names))
        if set(own) == set(listed) and own != listed:
            order = ", ".join(image.names)
            raise ReadError(
                f"{path}: the file names its bands {order}, {CARD} says {', '.join(names)}; correct the card"
            )

    def _check_nodata(self, image: Tiff, path: Path) -> None:
        """A value that the file calls nodata and the card does not would pass for a measurement."""
        value = image.nodata
        if value is not None and value not in self.sheet.nodata and (image.pixels == value).any():
            raise ReadError(
                f"{path}: the file says nodata is {value:g} and has such pixels; add it to nodata in {CARD}"
            )

    def _mask(self, name: str, image: Tiff) -> np.ndarray:
        path = self._masks[name]
        mask = read_tiff(path)
        if len(mask.pixels) != 1 or mask.pixels.shape[1:] != image.pixels.shape[1:]:
            shapes = f"{image.pixels.shape[1:]} pixels but its mask {mask.pixels.shape}"
            raise ReadError(f"{path}: the image has {shapes}; cut both to the same pixels, the mask with one band")
        if (
            mask.crs
            and image.crs
            and (mask.crs != image.crs or not mask.transform.almost_equals(image.transform, 1e-3))
        ):
            raise ReadError(
                f"{path}: coordinate system or place differs from its image's; warp the mask to the image's grid"
            )
        labels = mask.pixels[0]
        if self.card.ignore is None or labels.dtype.kind not in "iu":
            return labels
        return np.where(labels == self.card.ignore, self.sheet.ignore_index, labels.astype(np.int32))

    def _class_files(self) -> dict[str, Path]:
        """``class/name`` -> file; every folder must be a class and every class a folder."""
        folders = sorted(path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        for folder in folders:
            if folder.name not in self.sheet.classes:
                raise ReadError(f"{folder}: not one of the classes of {CARD}; rename the folder or add the class")
        files: dict[str, Path] = {}
        for index, title in enumerate(self.sheet.classes):
            for name, path in tiffs(self.folder / title).items():
                files[f"{title}/{name}"] = path
                self._labels[f"{title}/{name}"] = index
        return files

    def _mask_files(self) -> dict[str, Path]:
        masks = tiffs(self.folder / "masks")
        for name in sorted(set(self._files) ^ set(masks)):
            has, lacks = ("image", "mask") if name in self._files else ("mask", "image")
            path = (self._files | masks)[name]
            raise ReadError(f"{path}: {has} without {lacks}; add {lacks}s/{path.name} or remove the {has}")
        return masks

    def _members(self) -> set[str]:
        """The ids of this split."""
        splits = self.card.splits
        if splits == "column":
            return {name for name, (_, split) in self._table.items() if split == self.split}
        if "seed" in splits:
            labels = self._labels or dict.fromkeys(self._files)
            return drawn(labels, splits["seed"], splits["fractions"])[self.split]
        members = {split: read_ids(self.folder / splits[split], self._files) for split in SPLITS}
        unused = sorted(set(self._files).difference(*members.values()))
        if unused and self.split == SPLITS[0]:
            log.warning("%s: %d images are in no split, e.g. %s", self.folder, len(unused), unused[0])
        return members[self.split]


def _plain(band: str) -> str:
    """``B02`` and Earth Engine's ``B2`` are one band."""
    return re.sub(r"^B0+(?=\d)", "B", band)
