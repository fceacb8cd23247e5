"""A user's own data: GeoTIFFs of equal size beside a ``card.yaml``.

    labels: folders      <class>/<name>.tif
    labels: labels.csv   images/<name>.tif and a table with the columns image, label and, if it makes the splits, split
    labels: masks        images/<name>.tif and masks/<name>.tif, values 0, 1, ... or the card's ``ignore``

The card says which channel is which band; where a file names its own bands, the two must agree.
"""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import TextIO

import numpy as np

from deflect.data.catalog import DatasetSheet
from deflect.data.readers.base import RawDataset, ReadError, Sample, refuse_repeated
from deflect.data.readers.folder_card import CARD, SPLITS, read_card, stored_bands
from deflect.data.readers.tiff import Tiff, read_tiff

ENDINGS = (".tif", ".tiff")


class Folder(RawDataset):
    """One split of a user's own dataset."""

    marker = CARD

    def _list_ids(self) -> list[str]:
        self.card = read_card(self.folder / CARD)
        self.stored = stored_bands(self.card, self.folder / CARD)
        self.channels = [self.stored.channel(name) for name in self.sheet.bands.names]
        self._labels: dict[str, int | None] = {}
        self._masks: dict[str, Path] = {}
        rows: dict[str, str] = {}
        if self.card.labels == "folders":
            self._files = self._class_files()
        else:
            self._files = tiffs(self.folder / "images")
            rows = self._mask_names() if self.card.labels == "masks" else self._table()
        return sorted(self._members(rows))

    def path(self, index: int) -> Path:
        return self._files[self.ids[index]]

    def label_path(self, index: int) -> Path:
        return self._masks.get(self.ids[index], self.path(index))

    def _read(self, index: int) -> Sample:
        name, path = self.ids[index], self.path(index)
        image = read_tiff(path)
        self._check_bands(image, path)
        pixels = self._shifted(image.pixels[self.channels])
        label = self._labels.get(name)
        return pixels, label if label is not None else self._mask(name, image)

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
        if set(image.names) == set(names) and list(image.names) != names:
            order = ", ".join(image.names)
            raise ReadError(
                f"{path}: the file names its bands {order}, {CARD} says {', '.join(names)}; correct the card"
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

    def _mask_names(self) -> dict[str, str]:
        self._masks = tiffs(self.folder / "masks")
        for name in sorted(set(self._files) ^ set(self._masks)):
            has, lacks = ("image", "mask") if name in self._files else ("mask", "image")
            path = (self._files | self._masks)[name]
            raise ReadError(f"{path}: {has} without {lacks}; add {lacks}s/{path.name} or remove the {has}")
        return {}

    def _table(self) -> dict[str, str]:
        """Read the CSV into labels; return its split column if the card asks for it."""
        path = self.folder / self.card.labels
        wanted = {"image", "label"} | ({"split"} if self.card.splits == "column" else set())
        with open_text(path) as file:
            rows = list(csv.DictReader(file))
        if not rows or not wanted <= set(rows[0]):
            raise ReadError(
                f"{path}: expected columns {', '.join(sorted(wanted))} and a row per image; correct the table"
            )
        names = [without_ending(row["image"] or "") for row in rows]
        refuse_repeated(names, str(path))
        for name, row in zip(names, rows, strict=True):
            if name not in self._files:
                raise ReadError(f"{path}: no file images/{name}.tif; add the image or remove its row")
            if "split" in wanted and row["split"] not in SPLITS:
                raise ReadError(
                    f"{path}: split of {name} must be train, val or test, found {row['split']!r}; correct it"
                )
            self._labels[name] = class_of(row["label"], self.sheet, f"{path}: {name}")
        without = sorted(set(self._files) - set(names))
        if without:
            raise ReadError(f"{path}: no row for images/{without[0]}.tif; add its label or remove the image")
        return {name: row["split"] for name, row in zip(names, rows, strict=True)} if "split" in wanted else {}

    def _members(self, column: dict[str, str]) -> set[str]:
        """The ids of this split."""
        splits = self.card.splits
        if splits == "column":
            return {name for name, split in column.items() if split == self.split}
        if "seed" in splits:
            return drawn(self._labels or dict.fromkeys(self._files), splits["seed"], splits["fractions"])[self.split]
        path = self.folder / splits[self.split]
        with open_text(path) as file:
            names = [without_ending(line.strip()) for line in file if line.strip()]
        refuse_repeated(names, str(path))
        unknown = sorted(set(names) - set(self._files))
        if unknown:
            raise ReadError(f"{path}: no image {unknown[0]!r} in the dataset; correct the line or add the file")
        return set(names)


def tiffs(folder: Path) -> dict[str, Path]:
    """The GeoTIFFs of a folder by name without ending.

    Raises:
        ReadError: the folder is missing or has none.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS)
    if not paths:
        raise ReadError(f"{folder}: expected GeoTIFFs (.tif), found none; put the images there or correct {CARD}")
    refuse_repeated([path.stem for path in paths], str(folder))
    return {path.stem: path for path in paths}


def without_ending(name: str) -> str:
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name


def class_of(label: str | None, sheet: DatasetSheet, where: str) -> int:
    """A label as written in a table: the name of a class, or its number from 0."""
    if label in sheet.classes:
        return sheet.classes.index(label)
    if label is not None and label.isdecimal() and int(label) < len(sheet.classes):
        return int(label)
    raise ReadError(
        f"{where}: label must be a class of {CARD} or a whole number below {len(sheet.classes)}, found {label!r}"
    )


def drawn(labels: dict[str, int | None], seed: int, fractions: list[float]) -> dict[str, set[str]]:
    """Splits by lot, class by class. The lot of an image is a hash of seed and id, the same on every machine."""
    members: dict[str, set[str]] = {split: set() for split in SPLITS}
    for label in set(labels.values()):
        names = [name for name, value in labels.items() if value == label]
        names.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        first = round(fractions[0] * len(names))
        second = first + round(fractions[1] * len(names))
        for split, part in zip(SPLITS, (names[:first], names[first:second], names[second:]), strict=True):
            members[split].update(part)
    return members


def open_text(path: Path) -> TextIO:
    """Open a text file, or say in one line that it is missing."""
    if not path.is_file():
        raise ReadError(f"{path}: missing, although {CARD} names it; add the file or correct the card")
    return open(path, newline="", encoding="utf-8-sig")
