"""Lists that a user's own dataset comes with: GeoTIFFs in a folder, a table of labels, files of ids, drawn splits."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import TextIO

from deflect.data.card import SPLITS
from deflect.data.readers.faults import ReadError, refuse_repeated
from deflect.data.readers.folder_card import CARD

ENDINGS = (".tif", ".tiff")


def tiffs(folder: Path) -> dict[str, Path]:
    """The GeoTIFFs of a folder by name without ending; hidden files, such as those macOS leaves, are none.

    Raises:
        ReadError: the folder is missing or has none.
    """
    paths = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in ENDINGS)
    if not paths:
        raise ReadError(f"{folder}: expected GeoTIFFs (.tif), found none; put the images there or correct {CARD}")
    refuse_repeated([path.stem for path in paths], str(folder))
    return {path.stem: path for path in paths}


def without_ending(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(ENDINGS) else name


def class_of(label: str | None, classes: tuple[str, ...], where: str) -> int:
    """A label as written in a table: the name of a class, or its number from 0 where no class is named by a number."""
    if label in classes:
        return classes.index(label)
    numbers = not any(name.isdecimal() for name in classes)
    if numbers and label is not None and label.isdecimal() and int(label) < len(classes):
        return int(label)
    raise ReadError(f"{where}: label must be a class of {CARD} or a whole number below {len(classes)}, found {label!r}")


def drawn(labels: Mapping[str, int | None], seed: int, fractions: list[float]) -> dict[str, set[str]]:
    """Splits by lot, class by class. The lot of an image is a hash of seed and id, the same on every machine."""
    members: dict[str, set[str]] = {split: set() for split in SPLITS}
    for label in set(labels.values()):
        names = [name for name, value in labels.items() if value == label]
        names.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        first, second = (round(sum(fractions[:k]) * len(names)) for k in (1, 2))
        for split, part in zip(SPLITS, (names[:first], names[first:second], names[second:]), strict=True):
            members[split].update(part)
    return members


def read_text(path: Path) -> TextIO:
    """The text of a file, or one line that says that it is missing or not UTF-8."""
    if not path.is_file():
        raise ReadError(f"{path}: missing, although {CARD} names it; add the file or correct the card")
    try:
        return StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise ReadError(f"{path}: expected text in UTF-8, found other bytes ({error}); save it as UTF-8") from error


def read_table(
    path: Path, files: Mapping[str, Path], classes: tuple[str, ...], with_split: bool
) -> dict[str, tuple[int, str]]:
    """The table of labels: image -> class and split (empty where the table does not make the splits)."""
    wanted = {"image", "label"} | ({"split"} if with_split else set())
    with read_text(path) as file:
        rows = list(csv.DictReader(file))
    if not rows or not wanted <= set(rows[0]):
        raise ReadError(f"{path}: expected columns {', '.join(sorted(wanted))} and a row per image; correct the table")
    names = [without_ending(row["image"] or "") for row in rows]
    refuse_repeated(names, str(path))
    found: dict[str, tuple[int, str]] = {}
    for name, row in zip(names, rows, strict=True):
        if name not in files:
            raise ReadError(f"{path}: no file images/{name}.tif; add the image or remove its row")
        split = row["split"] if with_split else ""
        if with_split and split not in SPLITS:
            raise ReadError(f"{path}: split of {name} must be train, val or test, found {split!r}; correct it")
        found[name] = class_of(row["label"], classes, f"{path}: {name}"), split
    without = sorted(set(files) - set(names))
    if without:
        raise ReadError(f"{path}: no row for images/{without[0]}.tif; add its label or remove the image")
    return found


def read_ids(path: Path, files: Mapping[str, Path]) -> set[str]:
    """A file of ids, one per line, with or without ``.tif``."""
    with read_text(path) as file:
        names = [without_ending(line.strip()) for line in file if line.strip()]
    refuse_repeated(names, str(path))
    unknown = sorted(set(names) - set(files))
    if unknown:
        raise ReadError(f"{path}: no image {unknown[0]!r} in the dataset; correct the line or add the file")
    return set(names)
