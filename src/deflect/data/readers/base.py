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
from deflect.data.readers.checks import (
    IGNORE,
    check_class,
    check_mask,
    check_multilabel,
    check_target,
    check_target_map,
    find_root,
    narrow,
    reading,
    refuse_repeated,
)
from deflect.errors import DataError
from deflect.settings import PIXEL_TASKS, REGRESSIONS, SPLITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The label of an image: a class, a number, one 0 or 1 per class, or a map of classes or numbers.
Label = np.ndarray | np.float32 | int
Sample = tuple[np.ndarray, Label]


class RawDataset(ABC):
    """One split of a dataset in its published files.

    Follows the contract of ``torchgeo.datasets.NonGeoDataset`` (``len``, dict samples, ``plot``) without importing it.

    Args:
        folder: the dataset's files, or the folder that contains the archive's single top folder.
        split: ``train``, ``val`` or ``test``.
        sheet: bands, classes, units and nodata of the dataset.
        shared: what another split has found for all of them, see ``every``.
    """

    #: A file or folder that every copy of this layout has.
    marker: str
    #: Whether pixels without data lose their label as well.
    ignore_nodata = True

    def __init__(self, folder: Path, split: str, sheet: DatasetSheet, shared: Any = None) -> None:
        self.folder, self.split, self.sheet = find_root(Path(folder), self.marker, sheet.name), split, sheet
        self.shared = shared
        self.ids = self._list_ids()
        if not self.ids:
            raise DataError(f"{self.folder}: split {split} of {sheet.name} has no images; fetch or place them again")
        refuse_repeated(self.ids, f"{self.folder}: split {split}")

    @classmethod
    def every(cls, folder: Path, sheet: DatasetSheet) -> dict[str, Self]:
        """All splits by name; what a reader keeps as ``shared``, such as a list of all files, is found once."""
        first = cls(folder, SPLITS[0], sheet)
        return {split: first if split == first.split else cls(folder, split, sheet, first.shared) for split in SPLITS}

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
        """Image (C, H, W) as stored, and label with classes counted from 0 and -1 for none; NaN for no number.

        A ``MaskedArray`` masks pixels without a measurement; otherwise they have one of the sheet's nodata values.
        """

    def load(self, index: int) -> Sample:
        """Image (C, H, W) in the stored unit, with 0 for nodata, and its label as a store keeps it.

        The label is an int (classification), int8 (H, W) (segmentation), uint8 (K,) (multilabel), float32
        (regression) or float32 (H, W) (pixel_regression). Pixels without data have no label: -1 or NaN.
        """
        return self.load_measured(index)[:2]

    def load_measured(self, index: int) -> tuple[np.ndarray, Label, np.ndarray]:
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
        label = self._checked(label, image.shape[1:], self.label_path(index))
        if isinstance(label, np.ndarray) and sheet.task in PIXEL_TASKS and self.ignore_nodata:
            label[missing.any(axis=0)] = np.nan if sheet.task in REGRESSIONS else IGNORE
        return image, label, ~missing

    def _checked(self, label: Any, shape: tuple[int, ...], path: Path) -> Label:
        """The label of an image of ``shape`` (H, W) in the type of the task."""
        task, classes = self.sheet.task, len(self.sheet.classes)
        if task == "classification":
            return check_class(label, classes, path)
        if task == "segmentation":
            return check_mask(label, classes, shape, path)
        if task == "multilabel":
            return check_multilabel(label, classes, path)
        return check_target_map(label, shape, path) if task in PIXEL_TASKS else check_target(label, path)

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
        """``{"image": float32 (C, H, W) in the stored unit, "label": int64 ()}`` or ``"mask": int64 (H, W)``.

        The label of a multilabel is int64 (K,), that of a regression float32.
        """
        import torch

        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside split {self.split} of {len(self)} images")
        image, label = self.load(index)
        key = "mask" if self.sheet.task in PIXEL_TASKS else "label"
        dtype = torch.float32 if self.sheet.task in REGRESSIONS else torch.int64
        return {"image": torch.from_numpy(image.astype(np.float32)), key: torch.tensor(label, dtype=dtype)}

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
            limits = {} if self.sheet.task in REGRESSIONS else {"vmin": IGNORE, "vmax": len(self.sheet.classes) - 1}
            axes[1].imshow(sample["mask"], interpolation="none", **limits)
        else:
            axes[0].set_title(self._title(sample["label"]), parse_math=False)
        for axis in axes:
            axis.axis("off")
        if suptitle:
            figure.suptitle(suptitle)
        return figure

    def _title(self, label: Any) -> str:
        """The label of an image in words."""
        classes = self.sheet.classes
        if self.sheet.task == "regression":
            return f"{classes[0]}: {float(label):g}"
        if self.sheet.task == "multilabel":
            return ", ".join(name for name, present in zip(classes, label.tolist(), strict=True) if present)
        return classes[int(label)]
