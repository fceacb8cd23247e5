"""Writes a user's own dataset with each kind of labels and splits; returns what a reader has to find in it.

What is expected comes from the arrays that were written, never from the code that reads them.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from own_data import BANDS, CARD, image, write_card
from pixel_formats import SCALE, WriteImage, WriteMask, geotiff, mask

CLASSES = CARD["classes"]
SPLITS = ("train", "train", "val", "test")  # of images 0, 1, 2, 3, 0, ...
DRAWN = CARD["splits"]


@dataclass
class Written:
    """A dataset by what its files say.

    Attributes:
        samples: id -> reflectance (C, H, W), NaN where nothing was measured, and label.
        splits: id -> split, where the files or the card say it.
        groups: id -> what must not be divided between splits.
        scale, offset, nodata: as a record has to have them.
    """

    bands: list[str]
    samples: dict[str, tuple[np.ndarray, Any]]
    splits: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    scale: float | tuple[float, ...] = SCALE
    offset: float | tuple[float, ...] = 0.0
    nodata: tuple[float, ...] = ()
    gsd: float = 10.0


def numbers_of(index: int, bands: int = len(BANDS), size: int = 16) -> np.ndarray:
    return image(index, size, bands)


def classes_of(index: int, size: int = 16) -> np.ndarray:
    """Classes (H, W) of an image, with a place of no class."""
    classes = np.random.default_rng(1000 + index).integers(0, 2, (size, size))
    classes[5, 5:8] = -1
    return classes


def values_of(index: int, size: int = 16) -> np.ndarray:
    """Numbers (H, W) for a regression, with NaN."""
    values = np.random.default_rng(1000 + index).normal(120, 30, (size, size)).astype(np.float32)
    values[5, 5:8] = np.nan
    return values


def _facts(written: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What a record has to have, by the keys of the card and, beyond them, ``expected``."""
    keys = {key: written[key] for key in ("scale", "offset", "gsd") if written.get(key) is not None}
    return keys | expected


def _names(card: Mapping[str, Any]) -> list[str]:
    """The bands that a card keeps, in its order."""
    names = [entry["name"] if isinstance(entry, dict) else entry for entry in card.get("bands", BANDS)]
    return [name for name in names if name in card.get("use", names) and name is not None]


def _kept(reflectance: np.ndarray, card: Mapping[str, Any]) -> np.ndarray:
    """The channels that are bands."""
    entries = card.get("bands", BANDS)
    names = [entry["name"] if isinstance(entry, dict) else entry for entry in entries]
    return reflectance[[names.index(name) for name in _names(card)]]


def class_folders(
    folder: Path,
    write: WriteImage = geotiff,
    path: str = "{title}/{title}_{index}.tif",
    name: str = "{title}/{title}_{index}",
    expected: Mapping[str, Any] = {},
    n: int = 4,
    **card: Any,
) -> Written:
    """A folder per class. ``path`` and ``name`` of each image may contain a split and a farm as well."""
    write_card(folder, **card)
    written = Written(_names(card), {}, **_facts(card, dict(expected)))
    for label, title in enumerate(CLASSES):
        for index in range(n):
            parts = {"title": title, "index": index, "split": SPLITS[index % 4], "farm": f"farm{index % 4}"}
            found = write(folder / path.format(**parts), numbers_of(100 * label + index, len(card.get("bands", BANDS))))
            key = name.format(**parts)
            written.samples[key] = _kept(found, card), label
            if "{split}" in path:
                written.splits[key] = parts["split"]
            if "{farm}" in path:
                written.groups[key] = parts["farm"]
    return written


def table(
    folder: Path,
    cells: Callable[[int], dict[str, Any]],
    label: Callable[[int], Any],
    labels: str = "labels.csv",
    write: WriteImage = geotiff,
    n: int = 8,
    **card: Any,
) -> Written:
    """Images with a table; ``cells`` are those of a row beside the image."""
    write_card(folder, labels=labels, **card)
    written = Written(_names(card), {}, **_facts(card, {}))
    rows = []
    for index in range(n):
        name = f"tile_{index}"
        written.samples[name] = write(folder / f"images/{name}.tif", numbers_of(index)), label(index)
        rows.append({"image": name} | cells(index))
        if card.get("splits") == "column":
            written.splits[name] = rows[-1]["split"]
        if "group" in card.get("splits", ()):
            written.groups[name] = rows[-1]["site"]
    with open(folder / labels, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return written


def masks(
    folder: Path,
    write_mask: WriteMask = mask,
    write: WriteImage = geotiff,
    label: Callable[[int], np.ndarray] = classes_of,
    image_path: str = "images/{name}.tif",
    mask_path: str = "masks/{name}.tif",
    name: str = "{name}",
    **card: Any,
) -> Written:
    """An image and a mask each."""
    write_card(folder, **({"task": "segmentation", "labels": "masks", "ignore": 255} | card))
    written = Written(_names(card), {}, **_facts(card, {}))
    for index in range(8):
        parts = {"name": f"tile_{index}", "split": SPLITS[index % 4]}
        found = write(folder / image_path.format(**parts), numbers_of(index))
        write_mask(folder / mask_path.format(**parts), label(index))
        written.samples[name.format(**parts)] = found, label(index)
        if "{split}" in image_path:
            written.splits[name.format(**parts)] = parts["split"]
    return written


def lists(folder: Path, written: Written) -> Written:
    """Write the images of each split to a file, and name the files in the card."""
    written.splits = {name: SPLITS[index % 4] for index, name in enumerate(written.samples)}
    for split in ("train", "val", "test"):
        members = [name for name, of in written.splits.items() if of == split]
        (folder / f"{split}.txt").write_text("\n".join(members) + "\n")
    return written


LISTS = {split: f"{split}.txt" for split in ("train", "val", "test")}


def linked(folder: Path, files: bool) -> Written:
    """The images on another disk, by links to folders or to files."""
    disk = folder.absolute().with_name(f"{folder.name}_disk")
    written = class_folders(disk)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(disk / "card.yaml", folder)
    for title in CLASSES:
        if not files:
            (folder / title).symlink_to(disk / title)
            continue
        (folder / title).mkdir()
        for path in (disk / title).iterdir():
            (folder / title / path.name).symlink_to(path)
    return written
