"""The image files of a user's own dataset, their names, and the files that are not read."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path
from unicodedata import normalize

from deflect.data.readers.checks import refuse_repeated
from deflect.data.readers.own_data_card import CARD
from deflect.errors import DataError

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
