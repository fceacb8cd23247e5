"""Files of a user's own dataset: images and their names, tables of labels, lists of ids, random splits."""

from __future__ import annotations

import codecs
import csv
import hashlib
import logging
import os
from collections.abc import Collection, Mapping
from io import StringIO
from pathlib import Path
from typing import Any
from unicodedata import normalize

from deflect.data.readers.checks import refuse_repeated
from deflect.data.readers.own_data_card import CARD
from deflect.errors import DataError
from deflect.files import LONGEST_TEXT, require_file
from deflect.settings import SPLITS

log = logging.getLogger(__name__)

ENDINGS = (".tif", ".tiff")
#: Endings of files that accompany images or document them; files with other endings may be images.
COMPANIONS = {".xml", ".ovr", ".msk", ".tfw", ".wld", ".prj", ".txt", ".md", ".rst", ".pdf", ".html", ".csv", ".tsv"}
COMPANIONS |= {".xls", ".xlsx", ".json", ".geojson", ".yaml", ".yml", ".toml", ".py", ".ipynb", ".sh", ".log", ".qml"}
COMPANIONS |= {".db", ".ini", ".sha256", ".md5", ""}


def composed(name: str) -> str:
    """``name`` in Unicode normal form C: macOS may write é as e and an accent, tables as one character."""
    return normalize("NFC", name)


def find(path: Path) -> Path:
    """``path``, or the file with this name in another Unicode form."""
    if path.exists() or not path.parent.is_dir():
        return path
    return next((other for other in path.parent.iterdir() if composed(other.name) == composed(path.name)), path)


def few(names: Collection[object]) -> str:
    """The first three names, for a message of one line."""
    return ", ".join(map(str, list(names)[:3])) + (", ..." if len(names) > 3 else "")


def tiffs(folder: Path) -> dict[str, Path]:
    """The GeoTIFFs of a folder by name without ending; hidden files are skipped."""
    paths = [path for path in sorted(folder.glob("[!.]*")) if not path.is_dir()]
    images = [path for path in paths if path.suffix.lower() in ENDINGS]
    if not images:
        found = f"{len(paths)} other files ({few([path.name for path in paths])})" if paths else "none"
        raise DataError(
            f"{folder}: expected GeoTIFFs (.tif, .tiff), found {found}; put the images there or correct {CARD}"
        )
    names = [_name(path) for path in images]
    refuse_repeated(names, str(folder))
    return dict(zip(names, images, strict=True))


def _name(path: Path) -> str:
    """The id of an image, which has to be one line of text."""
    if path.stem.splitlines() != [path.stem]:
        raise DataError(f"{path.parent}: the file name {path.name!r} has a line break; rename the file")
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path.parent}: the file name {path.name!r} is not UTF-8; rename the file") from error
    return composed(path.stem)


def note_left_out(folder: Path, read: set[Path]) -> None:
    """Log, in one line, the number of files below ``folder`` that could be images and are not ``read``."""
    kinds: dict[str, list[str]] = {"hidden": [], "in other folders": [], "not named .tif or .tiff": []}
    for base, _, names in os.walk(folder, followlinks=True):
        for path in {Path(base, name) for name in names} - read:
            place, ending = path.relative_to(folder), path.suffix.lower()
            hidden = any(part.startswith(".") for part in place.parts)
            if ending in ENDINGS:
                kinds["hidden" if hidden else "in other folders"].append(str(place))
            elif ending not in COMPANIONS and not hidden:
                kinds["not named .tif or .tiff"].append(str(place))
    found = "; ".join(f"{len(names)} {kind} ({few(sorted(names))})" for kind, names in kinds.items() if names)
    if found:
        log.warning("%s: files that are not read: %s; move or convert those that are images", folder, found)


def _without_ending(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(ENDINGS) else name


def _class_of(label: str, classes: tuple[str, ...], where: str) -> int:
    """The class of a label in a table: its name, or its number from 0 if no class name is a number."""
    if label in classes:
        return classes.index(label)
    if not any(name.isdecimal() for name in classes) and label.isdecimal() and int(label) < len(classes):
        return int(label)
    raise DataError(f"{where}: label must be a class of {CARD} or a whole number below {len(classes)}, found {label!r}")


def _drawn(labels: Mapping[str, int | None], seed: int, fractions: list[float]) -> dict[str, set[str]]:
    """Random splits, class by class: images are sorted by a hash of seed and id, the same on every machine."""
    members: dict[str, set[str]] = {split: set() for split in SPLITS}
    for label in set(labels.values()):
        names = [name for name, value in labels.items() if value == label]
        names.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
        first, second = (round(sum(fractions[:k]) * len(names)) for k in (1, 2))
        for split, part in zip(SPLITS, (names[:first], names[first:second], names[second:]), strict=True):
            members[split].update(part)
    return members


def members_of(
    splits: Any, folder: Path, files: Mapping[str, Path], labels: Mapping[str, int], split_of: Mapping[str, str]
) -> dict[str, set[str]]:
    """The ids of every split, as the card's ``splits`` describes them; ``split_of`` is from the table of labels."""
    if splits in ("column", "folders"):
        of = split_of or {name: name.partition("/")[0] for name in files}
        found = {split: {name for name in files if of[name] == split} for split in SPLITS}
    elif "seed" in splits:
        found = _drawn(labels or dict.fromkeys(files), splits["seed"], splits["fractions"])
    else:
        found = {split: _read_ids(folder / splits[split], files) for split in SPLITS}
    if not all(found.values()):
        counts = ", ".join(f"{split} {len(names)}" for split, names in found.items())
        raise DataError(
            f"{folder}: each split needs one or more images, found {counts}; add images or change splits in {CARD}"
        )
    return found


def _read_list(path: Path) -> str:
    """The text of a file that the card names."""
    path = find(path)
    if not path.exists():
        raise DataError(f"{path}: missing, although {CARD} names it; add the file or correct the card")
    require_file(path, LONGEST_TEXT)
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        likely = "UTF-16" if utf16 else "Windows-1252 (cp1252) or another 8-bit encoding"
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: expected text in UTF-8, found bytes of {likely} in line {line}; "
            "save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from error


def read_table(
    path: Path, files: Mapping[str, Path], classes: tuple[str, ...], with_split: bool
) -> tuple[dict[str, int], dict[str, str]]:
    """The class and the split of every image; the split is "" if the table has no such column."""
    rows = _rows(path, ["image", "label", *["split"] * with_split])
    names = [_without_ending(row["image"]) for row in rows]
    refuse_repeated(names, str(path))
    labels, splits = {}, {}
    for name, row in zip(names, rows, strict=True):
        if name not in files:
            raise DataError(f"{path}: no file images/{name}.tif; add the image or remove its row")
        splits[name] = row.get("split", "")
        if with_split and splits[name] not in SPLITS:
            raise DataError(f"{path}: split of {name} must be train, val or test, found {splits[name]!r}; correct it")
        labels[name] = _class_of(row["label"], classes, f"{path}: {name}")
    without = [files[name].name for name in sorted(set(files) - set(names))]
    if without:
        raise DataError(f"{path}: {len(without)} images have no row ({few(without)}); add their labels or remove them")
    return labels, splits


def _rows(path: Path, wanted: list[str]) -> list[dict[str, str]]:
    """Rows of a table by column, without empty ones; the header shows the separator: comma, semicolon or tab."""
    text = composed(_read_list(path))
    head = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=head.count)
    try:
        reader = csv.reader(StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        table = [[cell.strip() for cell in row] for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}: no table of text ({error}); save it as CSV") from error
    columns, *rows = [row for row in table if any(row)] or [[]]
    names = [name.lower() for name in columns]
    if not rows or not set(wanted) <= set(names):
        found = f"columns {', '.join(map(repr, columns))} and {len(rows)} rows" if columns else "an empty file"
        raise DataError(f"{path}: expected columns {', '.join(wanted)} and a row per image, found {found}; correct it")
    if any(names.count(name) > 1 for name in filter(None, names)):
        raise DataError(f"{path}: two columns have one name ({', '.join(columns)}); rename or remove one of them")
    for row in rows:
        if any(row[len(columns) :]):
            raise DataError(
                f"{path}: row {separator.join(row)!r} has {len(row)} cells and the header {len(columns)}; "
                f"put a cell that contains {separator!r} in quotes"
            )
    return [dict.fromkeys(names, "") | dict(zip(names, row, strict=False)) for row in rows]


def _read_ids(path: Path, files: Mapping[str, Path]) -> set[str]:
    """A file of ids, one per line, with or without ``.tif``."""
    lines = StringIO(_read_list(path))
    names = [composed(_without_ending(line.strip())) for line in lines if line.strip()]
    refuse_repeated(names, str(path))
    unknown = sorted(set(names) - set(files))
    if unknown:
        found = few([repr(name) for name in unknown])
        raise DataError(f"{path}: {len(unknown)} names without an image ({found}); correct the lines or add the files")
    return set(names)
