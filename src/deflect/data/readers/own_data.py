"""A user's own data: GeoTIFFs and a ``card.yaml``.

    labels: folders      <class>/<name>.tif
    labels: labels.csv   images/<name>.tif and a table with columns image, label and, with splits: column, split
    labels: masks        images/<name>.tif and masks/<name>.tif, values 0, 1, ... or the card's ``ignore``

With ``splits: folders``, train/, val/ and test/ each have this layout. The card names the band of each channel; if a
file names its bands as well, the two must agree.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from deflect.data.readers.base import RawDataset, Sample
from deflect.data.readers.checks import reading
from deflect.data.readers.own_data_card import CARD, read_card, stored_bands
from deflect.data.readers.own_data_files import composed, few, find, members_of, note_left_out, read_table, tiffs
from deflect.data.readers.own_data_metadata import check_image, check_nodata, check_place, equal, unstated
from deflect.data.readers.tiff import Tiff, read_tiff
from deflect.errors import DataError
from deflect.settings import SPLITS

log = logging.getLogger(__name__)


class OwnData(RawDataset):
    """One split of a user's own dataset."""

    marker = CARD

    def _list_ids(self) -> list[str]:
        self.card = read_card(self.folder / CARD)
        self.stored = stored_bands(self.card, self.folder / CARD)
        self.channels = [self.stored.channel(name) for name in self.sheet.bands.names]
        self._labels: dict[str, int] = {}
        self._masks: dict[str, Path] = {}
        self._split_of: dict[str, str] = {}
        self._files = self._class_files() if self.card.labels == "folders" else self._images("images")
        if self.card.labels == "masks":
            self._masks = self._mask_files()
        elif self.card.labels != "folders":
            table, with_split = self.folder / self.card.labels, self.card.splits == "column"
            self._labels, self._split_of = read_table(table, self._files, self.sheet.classes, with_split)
        members = members_of(self.card.splits, self.folder, self._files, self._labels, self._split_of)
        if self.split == SPLITS[0]:
            self._note(members)
        return sorted(members[self.split])

    def path(self, index: int) -> Path:
        return self._files[self.ids[index]]

    def label_path(self, index: int) -> Path:
        return self._masks.get(self.ids[index], self.path(index))

    def files(self) -> Iterable[Path | str]:
        yield from super().files()
        yield self.folder / CARD
        if self.card.labels.endswith(".csv"):
            yield find(self.folder / self.card.labels)

    def part(self, start: int, stop: int) -> Self:
        part = super().part(start, stop)
        part._split_of = {}
        for name in ("_files", "_labels", "_masks"):
            kept = getattr(self, name)
            setattr(part, name, {key: kept[key] for key in part.ids if key in kept})
        return part

    def _read(self, index: int) -> Sample:
        name, path = self.ids[index], self.path(index)
        image = read_tiff(path)
        check_image(image, self.card, self.stored, self.channels, path)
        check_nodata(image, self.sheet.nodata, "nodata", path)
        pixels = self._middle(self._measured(image), path)
        return pixels, self._labels[name] if name in self._labels else self._middle(self._mask(name, image), path)

    def _middle(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        """The square of the card's ``size`` in the middle of (..., H, W); all of a square image if it sets none."""
        height, width = pixels.shape[-2:]
        largest, size = min(height, width), self.card.size or max(height, width)
        if size > largest:
            raise DataError(f"{path}: {height} x {width} pixels; crop it, or set size: {largest} or less in {CARD}")
        top, left = (height - size) // 2, (width - size) // 2
        return pixels[..., top : top + size, left : left + size]

    def _measured(self, image: Tiff) -> np.ma.MaskedArray:
        """Stored value + offset of the channels in use, with nodata and the pixels that the file masks masked."""
        pixels = image.pixels[self.channels]
        missing = equal(pixels, self.sheet.nodata)
        if image.hidden is not None:
            missing |= image.hidden
        if self.card.offset:
            pixels = pixels.astype(np.float32) + np.float32(self.card.offset)
        return np.ma.MaskedArray(pixels, missing)

    def _mask(self, name: str, image: Tiff) -> np.ndarray:
        path = self._masks[name]
        mask = read_tiff(path)
        shape = image.pixels.shape[1:]
        if mask.pixels.shape != (1, *shape):
            shapes = f"expected a mask of shape {(1, *shape)} like its image, found {mask.pixels.shape}"
            raise DataError(f"{path}: {shapes}; cut both to the same pixels, the mask with one band")
        check_place(mask, image, path)
        ignored = () if self.card.ignore is None else (self.card.ignore,)
        check_nodata(mask, ignored, "ignore", path)
        labels = mask.pixels[0]
        if labels.dtype.kind not in "iu":
            return labels
        unlabelled = equal(labels, ignored)
        if mask.hidden is not None:
            unlabelled |= mask.hidden
        return np.where(unlabelled, self.sheet.ignore_index, labels.astype(np.int32))

    def _places(self) -> dict[str, Path]:
        """Prefix of ids -> the folder of their files: that of the dataset, or one per split."""
        folders = {path.name for path in self.folder.glob("[!.]*") if path.is_dir()}
        if self.card.splits == "folders":
            if not folders.issuperset(SPLITS):
                found = few(sorted(folders)) or "none"
                raise DataError(f"{self.folder}: expected folders train, val and test, found {found}; rename or add")
            return {f"{split}/": self.folder / split for split in SPLITS}
        others = folders - set(self.sheet.classes)
        if "images" not in folders and "train" in others and others & {"val", "valid", "validation", "test"}:
            raise DataError(
                f"{self.folder}: found a folder per split ({few(sorted(others))}); "
                f"call them train, val and test and write `splits: folders` in {CARD}"
            )
        return {"": self.folder}

    def _images(self, folder: str, before: str = "") -> dict[str, Path]:
        """The GeoTIFFs of a subfolder of every place, by id; val and test may lack a class."""
        places = {prefix: find(place / folder) for prefix, place in self._places().items()}
        read = {prefix: tiffs(path) for prefix, path in places.items() if prefix in ("", "train/") or path.exists()}
        return {f"{prefix}{before}{name}": path for prefix, images in read.items() for name, path in images.items()}

    def _class_files(self) -> dict[str, Path]:
        """``class/name`` -> file; folders and classes must be the same."""
        folders = (path for place in self._places().values() for path in sorted(place.glob("[!.]*")) if path.is_dir())
        for folder in folders:
            if composed(folder.name) not in self.sheet.classes:
                raise DataError(f"{folder}: not one of the classes of {CARD}; rename the folder or add the class")
        files: dict[str, Path] = {}
        for index, title in enumerate(self.sheet.classes):
            found = self._images(title, f"{title}/")
            files |= found
            self._labels |= dict.fromkeys(found, index)
        return files

    def _mask_files(self) -> dict[str, Path]:
        masks, images = self._images("masks"), self._files
        for files, has, lacks in ((masks, "mask", "image"), (images, "image", "mask")):
            alone = [files[name].name for name in sorted(files.keys() - (masks.keys() & images))]
            if alone:
                found = f"{len(alone)} {has}s without {lacks} ({few(alone)})"
                raise DataError(f"{self.folder}: {found}; add the {lacks}s or remove the {has}s")
        return masks

    def _note(self, members: dict[str, set[str]]) -> None:
        """Log what may be a mistake, one line each."""
        note_left_out(self.folder, {*self._files.values(), *self._masks.values()})
        first = self._files[min(members["train"])]
        with reading(first):
            left = unstated(read_tiff(first))
        if left:
            log.info("%s: the file does not state %s; the values of %s are used", first, ", ".join(left), CARD)
        unused = sorted(set(self._files).difference(*members.values()))
        if unused:
            log.warning("%s: %d images are in no split, e.g. %s", self.folder, len(unused), unused[0])
        if self.card.splits != "column" and any(self._split_of.values()):
            log.warning("%s: column split of the table is not used; `splits: column` in %s uses it", self.folder, CARD)
