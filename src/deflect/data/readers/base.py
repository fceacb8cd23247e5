"""The base class of all readers: checked samples, samples for torchgeo, and plots.

A subclass reads one on-disk layout: the ``ids`` of a split, the ``path`` of an image, and ``_read``. The checks are
shared. Torch is imported only where a sample is returned as tensors, so that preparing data starts quickly.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from deflect.data.catalog import DatasetSheet
from deflect.data.readers.checks import IGNORE, check_class, check_mask, find_root, narrow, reading, refuse_repeated
from deflect.errors import DataError
from deflect.settings import SPLITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Sample = tuple[np.ndarray, "np.ndarray | int"]


class RawDataset(ABC):
    """One split of a dataset in its published files.

    Follows the contract of ``torchgeo.datasets.NonGeoDataset`` (``len``, dict samples, ``plot``) without importing it.

    Args:
        folder: the dataset's files, or the folder that contains the archive's single top folder.
        split: ``train``, ``val`` or ``test``.
        sheet: bands, classes, units and nodata of the dataset.
    """

    #: A file or folder that every copy of this layout has.
    marker: str
    #: Whether pixels without data lose their label as well.
    ignore_nodata = True

    def __init__(self, folder: Path, split: str, sheet: DatasetSheet) -> None:
        self.folder, self.split, self.sheet = find_root(Path(folder), self.marker, sheet.name), split, sheet
        self.ids = self._list_ids()
        if not self.ids:
            raise DataError(f"{self.folder}: split {split} of {sheet.name} has no images; fetch or place them again")
        refuse_repeated(self.ids, f"{self.folder}: split {split}")

    @classmethod
    def every(cls, folder: Path, sheet: DatasetSheet) -> dict[str, Self]:
        """All splits by name; a reader that lists files for all of them does so once."""
        return {split: cls(folder, split, sheet) for split in SPLITS}

    @abstractmethod
    def _list_ids(self) -> list[str]:
        """The published id of every image of this split, in a fixed order."""

    @abstractmethod
    def path(self, index: int) -> Path:
        """The file (or one of the files) of an image, for error messages."""

    def label_path(self, index: int) -> Path:
        """The file that contains the label of an image."""
        return self.path(index)

    def footprint(self, index: int) -> tuple[float, float, float, float] | None:
        """West, south, east and north of an image in degrees; None if its files do not state a place."""
        return None

    @abstractmethod
    def _read(self, index: int) -> Sample:
        """Image (C, H, W) as stored, and label with classes counted from 0 and -1 for none.

        A ``MaskedArray`` masks pixels without a measurement; otherwise they have one of the sheet's nodata values.
        """

    def load(self, index: int) -> Sample:
        """Image (C, H, W) in the stored unit, label as an int or as int8 (H, W); nodata is 0, its label -1."""
        return self.load_measured(index)[:2]

    def load_measured(self, index: int) -> tuple[np.ndarray, np.ndarray | int, np.ndarray]:
        """The sample of ``load``, and a bool array (C, H, W) that is True where the image has a measurement.

        Raises:
            DataError: the file is damaged, or its bands, shape, values or label contradict the data sheet.
        """
        path, sheet = self.path(index), self.sheet
        with reading(path):
            image, label = self._read(index)
        image = narrow(image, path)
        if image.ndim != 3 or len(image) != len(sheet.bands) or image.shape[1] != image.shape[2]:
            expected = f"a square image of {len(sheet.bands)} bands"
            raise DataError(f"{path}: expected {expected}, found shape {image.shape}; cut it to a square")
        missing, image = self._missing(image), np.ma.getdata(image)
        if missing.all():
            raise DataError(f"{path}: every pixel is nodata or not finite; remove the image from split {self.split}")
        if missing.any():
            image = np.where(missing, 0, image)
        if sheet.task == "classification":
            return image, check_class(label, len(sheet.classes), self.label_path(index)), ~missing
        mask = check_mask(label, len(sheet.classes), image.shape[1:], self.label_path(index))
        if self.ignore_nodata:
            mask[missing.any(axis=0)] = IGNORE
        return image, mask, ~missing

    def published_subsets(self) -> dict[float, list[str]]:
        """Ids of published subsets of this split, by the fraction of its images that they are."""
        return {}

    def files(self) -> Iterable[Path | str]:
        """Every file that this split is read from, in a fixed order; one at a time, since there may be a million."""
        for index in range(len(self)):
            yield from dict.fromkeys((self.path(index), self.label_path(index)))

    def signature(self) -> str:
        """Hash of the size and modification time of every file, to recognise the files of an earlier run."""
        digest = hashlib.sha256()
        with reading(self.folder):
            for path in self.files():
                state = os.stat(path)
                digest.update(f"{state.st_size} {state.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def part(self, start: int, stop: int) -> Self:
        """The images ``start`` to ``stop`` alone, for another process.

        A subclass that keeps more than ``ids`` of each image cuts it to the part as well.
        """
        part = copy(self)
        part.ids = self.ids[start:stop]
        return part

    def _missing(self, image: np.ndarray) -> np.ndarray:
        pixels = np.ma.getdata(image)
        missing = ~np.isfinite(pixels)
        if isinstance(image, np.ma.MaskedArray):
            return missing | np.ma.getmaskarray(image)
        for value in self.sheet.nodata:
            missing |= pixels == value
        return missing

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``{"image": float32 (C, H, W) in the stored unit, "label": int64 ()}`` or ``"mask": int64 (H, W)``."""
        import torch

        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside split {self.split} of {len(self)} images")
        image, label = self.load(index)
        key = "label" if self.sheet.task == "classification" else "mask"
        return {"image": torch.from_numpy(image.astype(np.float32)), key: torch.tensor(label, dtype=torch.int64)}

    def __str__(self) -> str:
        return f"{type(self).__name__} Dataset\n    type: NonGeoDataset\n    size: {len(self)}"

    def plot(self, sample: dict[str, Any], suptitle: str | None = None) -> Figure:
        """Red, green and blue of a sample, stretched to its 2nd and 98th percentile, and its mask if it has one."""
        from matplotlib.figure import Figure

        rgb = sample["image"][list(self.sheet.bands.rgb)].numpy().transpose(1, 2, 0)
        low, high = np.percentile(rgb, (2, 98))
        columns = 1 + ("mask" in sample)
        figure = Figure(figsize=(4 * columns, 4), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
        axes[0].imshow(np.clip((rgb - low) / max(high - low, 1e-9), 0, 1))
        if "mask" in sample:
            axes[1].imshow(sample["mask"], vmin=IGNORE, vmax=len(self.sheet.classes) - 1, interpolation="none")
        else:
            axes[0].set_title(self.sheet.classes[int(sample["label"])], parse_math=False)
        for axis in axes:
            axis.axis("off")
        if suptitle:
            figure.suptitle(suptitle)
        return figure
