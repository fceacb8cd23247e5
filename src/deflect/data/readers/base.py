"""What every reader of published files shares: checked samples, the dict contract of torchgeo, and a picture.

A reader knows one on-disk layout. It lists ``ids``, says which ``path`` an image comes from and reads it in ``_read``;
the checks, which are the same for all data, stand here. Nothing in this module needs torch until a sample is asked for
as tensors, so that preparing data starts quickly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deflect.data.catalog import DatasetSheet
from deflect.errors import DeflectError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IGNORE = -1
Sample = tuple[np.ndarray, "np.ndarray | int"]


class ReadError(DeflectError):
    """A file of a dataset is missing, damaged, or not what the data sheet says."""


class RawDataset(ABC):
    """One split of a dataset in its published files.

    Follows the contract of ``torchgeo.datasets.NonGeoDataset`` (``len``, dict samples, ``plot``) without importing it.

    Args:
        folder: where the files lie, or the folder that holds the archive's single top folder.
        split: ``train``, ``val`` or ``test``.
        sheet: the facts of the dataset: bands, classes, units, nodata.

    Raises:
        ReadError: a file that the layout asks for is missing.
    """

    #: A file or folder that every copy of this layout has; it tells the dataset's own folder from its parent.
    marker: str
    #: Whether pixels without data lose their label as well.
    ignore_nodata = True

    def __init__(self, folder: Path, split: str, sheet: DatasetSheet) -> None:
        self.folder, self.split, self.sheet = find_root(Path(folder), self.marker, sheet.name), split, sheet
        self.ids = self._list_ids()
        if not self.ids:
            raise ReadError(
                f"{self.folder}: split {split} of {sheet.name} has no images; fetch or place the files again"
            )
        refuse_repeated(self.ids, f"{self.folder}: split {split}")

    @abstractmethod
    def _list_ids(self) -> list[str]:
        """The published identity of every image of this split, in a fixed order."""

    @abstractmethod
    def path(self, index: int) -> Path:
        """The file (or one of the files) of image ``index``, to be named in messages."""

    def label_path(self, index: int) -> Path:
        """The file that holds the label of image ``index``."""
        return self.path(index)

    @abstractmethod
    def _read(self, index: int) -> Sample:
        """Image (C, H, W) and label as stored, with the classes already counted from 0 and -1 for none."""

    def load(self, index: int) -> Sample:
        """Image (C, H, W) in the stored unit, label as an int or as int8 (H, W); nodata is 0, its label -1.

        Raises:
            ReadError: the file is damaged, or its bands, shape, values or label break the data sheet.
        """
        path = self.path(index)
        with reading(path):
            image, label = self._read(index)
        image = _narrow(image, path)
        expected = len(self.sheet.bands)
        if image.ndim != 3 or len(image) != expected or image.shape[1] != image.shape[2]:
            raise ReadError(
                f"{path}: expected a square image of {expected} bands, found shape {image.shape}; cut it anew"
            )
        missing = self._missing(image)
        if missing.all():
            raise ReadError(f"{path}: every pixel is nodata or not finite; take the image out of split {self.split}")
        if missing.any():
            image = np.where(missing, 0, image)
        if self.sheet.task == "classification":
            return image, check_class(label, len(self.sheet.classes), self.label_path(index))
        mask = check_mask(label, len(self.sheet.classes), image.shape[1:], self.label_path(index))
        if self.ignore_nodata and missing.any():
            mask[missing.any(axis=0)] = IGNORE
        return image, mask

    def signature(self) -> list[list[int]]:
        """Size and time of change of every image's file: whether the files are those of an earlier run."""
        states = []
        for index in range(len(self)):
            with reading(self.path(index)):
                states.append(self.path(index).stat())
        return [[state.st_size, state.st_mtime_ns] for state in states]

    def _missing(self, image: np.ndarray) -> np.ndarray:
        """Where the image holds no measurement, (C, H, W) bool."""
        missing = ~np.isfinite(image) if image.dtype.kind == "f" else np.zeros(image.shape, bool)
        for value in self.sheet.nodata:
            missing |= image == value
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

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __str__(self) -> str:
        return f"{type(self).__name__} Dataset\n    type: NonGeoDataset\n    size: {len(self)}"

    def plot(self, sample: dict[str, Any], suptitle: str | None = None) -> Figure:
        """Red, green and blue of a sample, stretched to its 2nd and 98th percentile, beside its mask if it has one."""
        from matplotlib.figure import Figure

        rgb = sample["image"][list(self.sheet.bands.rgb)].numpy().transpose(1, 2, 0)
        low, high = np.percentile(rgb, (2, 98))
        figure = Figure(figsize=(4 * (1 + ("mask" in sample)), 4), layout="constrained")
        axes = figure.subplots(1, 1 + ("mask" in sample), squeeze=False)[0]
        axes[0].imshow(np.clip((rgb - low) / max(high - low, 1e-9), 0, 1))
        if "mask" in sample:
            axes[1].imshow(sample["mask"], vmin=IGNORE, vmax=len(self.sheet.classes) - 1, interpolation="none")
        else:
            axes[0].set_title(self.sheet.classes[int(sample["label"])])
        for axis in axes:
            axis.axis("off")
        if suptitle is not None:
            figure.suptitle(suptitle)
        return figure


def find_root(folder: Path, marker: str, name: str) -> Path:
    """``folder`` if it holds ``marker``, else the one folder in it that does: archives bring a top folder."""
    if (folder / marker).exists():
        return folder
    inside = sorted(path.parent for path in folder.glob(f"*/{marker}"))
    if len(inside) != 1:
        found = "several folders with it" if inside else "nothing like it"
        raise ReadError(
            f"{folder}: expected {marker}, found {found}; run `deflect data fetch {name}` or place the files"
        )
    return inside[0]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the file libraries raise on a missing or damaged file into one line that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReadError(f"{error.filename or path}: no such file; fetch or place the dataset again") from error
    except OSError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReadError(f"{path}: damaged or cut short ({reason}); fetch or place the file again") from error


def refuse_repeated(ids: Sequence[str], where: str) -> None:
    """An id that stands twice would be trained on, or counted, twice."""
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        repeated = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ReadError(f"{where} lists {repeated!r} more than once; remove the repeated line or file")


def check_class(label: Any, classes: int, path: Path) -> int:
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise ReadError(f"{path}: expected an integer label, found {label!r}; write labels as whole numbers from 0")
    if not 0 <= label < classes:
        raise ReadError(
            f"{path}: expected a label from 0 to {classes - 1}, found {label}; correct the label or the classes"
        )
    return int(label)


def check_mask(mask: Any, classes: int, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """The mask as int8 (H, W), values -1 to classes - 1."""
    mask = np.asarray(mask)
    if mask.dtype.kind not in "iu":
        raise ReadError(f"{path}: expected a mask of whole numbers, found {mask.dtype}; write it as an integer image")
    if mask.shape != shape:
        raise ReadError(f"{path}: image of {shape} pixels but mask of {mask.shape}; cut both to the same pixels")
    if mask.min() < IGNORE or mask.max() >= classes:
        found = mask.min() if mask.min() < IGNORE else mask.max()
        raise ReadError(
            f"{path}: expected classes 0 to {classes - 1} in the mask, found {found}; correct mask or classes"
        )
    return mask.astype(np.int8)


def _narrow(image: np.ndarray, path: Path) -> np.ndarray:
    """Integers up to 16 bits as they are, any float as float32."""
    if image.dtype.kind == "f":
        return image.astype(np.float32, copy=False)
    if image.dtype not in (np.uint8, np.int8, np.uint16, np.int16):
        raise ReadError(
            f"{path}: pixels of type {image.dtype} are not supported; store them as float32, uint8 or 16 bits"
        )
    return image
