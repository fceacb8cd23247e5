"""Text files of a user's own dataset: tables of labels, and lists of images."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.readers.checks import refuse_repeated
from deflect.data.readers.own.card import CARD, OwnCard
from deflect.data.readers.own.files import few, find
from deflect.data.readers.own.pattern import composed
from deflect.data.readers.raster import DRIVERS
from deflect.errors import DataError
from deflect.files import require_file
from deflect.settings import SPLITS
from deflect.settings.reading import near

#: Bytes of the longest table; a million rows have about 50 MB.
LONGEST = 1 << 30
#: Between the classes of an image in a cell of a table.
BETWEEN = "|"


@dataclass
class Table:
    """The rows of a table by image."""

    labels: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


def read_table(path: Path, images: Collection[str], card: OwnCard, group: str | None) -> Table:
    """Label, split and ``group`` (another column) of every image; a split is "" if the table has no such column."""
    with_split = card.splits == "column"
    titles = [name.lower() for name in card.names]
    header = set(_header(path)) if card.task == "multilabel" else set()
    per_class = bool(header) and ("label" not in header or header.issuperset(titles))
    wanted = [
        "image",
        *(titles if per_class else ["label"]),
        *["split"] * with_split,
        *([group.lower()] if group else []),
    ]
    table, names = Table(), []
    for row in _rows(path, wanted):
        name = without_ending(row["image"])
        names.append(name)
        if name not in images:
            alone = re.sub(r"^.*/|\.\w+$", "", name)
            remedy = f"write {alone!r}" if alone in images else "add the image or remove its row"
            raise DataError(f"{path}: no image {name!r}; {remedy}")
        split = row.get("split", "")
        if with_split and split not in SPLITS:
            raise DataError(f"{path}: split of {name} must be train, val or test, found {split!r}; correct it")
        if split:
            table.splits[name] = split
        if group:
            table.groups[name] = row[group.lower()]
            if not table.groups[name]:
                raise DataError(f"{path}: {name}: column {group} is empty; write the group of the image")
        cells = [row[title] for title in titles] if per_class else row["label"]
        table.labels[name] = _label(cells, card, f"{path}: {name}")
    refuse_repeated(names, str(path))
    without = sorted(set(images) - set(names))
    if without:
        raise DataError(f"{path}: {len(without)} images have no row ({few(without)}); add their labels or remove them")
    return table


def _label(cell: str | list[str], card: OwnCard, where: str) -> Any:
    """The label of an image for the card's task."""
    if card.task == "regression":
        value = _number(str(cell))
        if value is None:
            comma = _number(str(cell).replace(",", ".")) is not None
            remedy = "write a point for the comma" if comma else "correct it, or remove the row and its image"
            raise DataError(f"{where}: expected a number as label, found {cell!r}; {remedy}")
        return value
    if card.task == "classification":
        return _class_of(str(cell), card, where)
    if isinstance(cell, list):
        if wrong := [value for value in cell if value not in ("0", "1")]:
            raise DataError(f"{where}: expected 0 or 1 in the column of each class, found {wrong[0]!r}; correct it")
        return np.array(cell, np.uint8)
    label = np.zeros(len(card.names), np.uint8)
    for name in filter(None, map(str.strip, cell.split(BETWEEN))):
        label[_class_of(name, card, where)] = 1
    return label


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _class_of(label: str, card: OwnCard, where: str) -> int:
    """The class of a label in a table: its name, or its number if no class name is a number."""
    classes, first = card.names, card.label_offset
    if label in classes:
        return classes.index(label)
    if not any(name.isdecimal() for name in classes) and label.isdecimal():
        number = int(label) - first
        if 0 <= number < len(classes):
            return number
    numbers = f"a whole number from {first} to {first + len(classes) - 1}"
    remedy = near(label, classes) or "; correct it"
    if card.task == "multilabel" and set(re.split(r"\s*[;,/]\s*", label)) <= set(classes):
        remedy = f"; write {BETWEEN} between classes"
    raise DataError(f"{where}: label must be a class of {CARD} or {numbers}, found {label!r}{remedy}")


def read_ids(path: Path, images: Collection[str]) -> list[str]:
    """A file of ids, one per line, with or without the ending of a file."""
    lines = StringIO(_text(path))
    names = [composed(without_ending(line.strip())) for line in lines if line.strip()]
    refuse_repeated(names, str(path))
    unknown = sorted({name for name in names if name not in images})
    if unknown:
        found = few([repr(name) for name in unknown])
        raise DataError(f"{path}: {len(unknown)} names without an image ({found}); correct the lines or add the files")
    return names


def without_ending(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(tuple(DRIVERS)) else name


def _text(path: Path) -> str:
    """The text of a file that the card names."""
    path = find(path)
    if not path.exists():
        raise DataError(f"{path}: missing, although {CARD} names it; add the file or correct the card")
    require_file(path, LONGEST)
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        likely = "UTF-16" if utf16 else "Windows-1252 (cp1252) or another 8-bit encoding"
        if content.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
            likely = "an Excel file"
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: expected text in UTF-8, found bytes of {likely} in line {line}; "
            "save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from error


def _cells(path: Path) -> Iterator[list[str]]:
    """The rows of a table, without empty ones; the header shows the separator: comma, semicolon or tab."""
    text = composed(_text(path))
    head = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=head.count)
    try:
        reader = csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield cells
    except csv.Error as error:
        raise DataError(f"{path}: no table of text ({error}); save it as CSV") from error


def _header(path: Path) -> list[str]:
    return [name.lower() for name in next(_cells(path), [])]


def _rows(path: Path, wanted: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a table by column in lower case."""
    rows = _cells(path)
    columns = next(rows, [])
    names = [name.lower() for name in columns]
    if not set(wanted) <= set(names):
        found = f"columns {', '.join(map(repr, columns))}" if columns else "an empty file"
        raise DataError(f"{path}: expected columns {', '.join(wanted)} and a row per image, found {found}; correct it")
    if any(names.count(name) > 1 for name in filter(None, names)):
        raise DataError(f"{path}: two columns have one name ({', '.join(columns)}); rename or remove one of them")
    for row in rows:
        if any(row[len(columns) :]):
            raise DataError(
                f"{path}: row {', '.join(row)!r} has {len(row)} cells and the header {len(columns)}; "
                "put a cell that contains the separator in quotes"
            )
        yield dict.fromkeys(names, "") | dict(zip(names, row, strict=False))
