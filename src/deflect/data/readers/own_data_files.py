"""Files of a user's own dataset: which are its images, what they are called, and which are left out."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from unicodedata import normalize

from deflect.data.readers.faults import refuse_repeated
from deflect.data.readers.own_data_card import CARD
from deflect.errors import DataError

log = logging.getLogger(__name__)

ENDINGS = (".tif", ".tiff")
#: Endings of files that accompany images or are for people; any other may be an image that is expected to be read.
COMPANIONS = {".xml", ".ovr", ".msk", ".tfw", ".wld", ".prj", ".txt", ".md", ".rst", ".pdf", ".html", ".csv", ".tsv"}
COMPANIONS |= {".xls", ".xlsx", ".json", ".geojson", ".yaml", ".yml", ".toml", ".py", ".ipynb", ".sh", ".log", ".qml"}
COMPANIONS |= {".db", ".ini", ".sha256", ".md5", ""}


def composed(name: str) -> str:
    """One spelling of letters with accents: macOS may write é as e and an accent, tables as one sign."""
    return normalize("NFC", name)


def find(path: Path) -> Path:
    """``path``, or the file of this name with its accents spelt another way."""
    if path.exists() or not path.parent.is_dir():
        return path
    return next((other for other in path.parent.iterdir() if composed(other.name) == composed(path.name)), path)


def few(names: Collection[object]) -> str:
    """The first of many names, for a message of one line."""
    return ", ".join(map(str, list(names)[:3])) + (", ..." if len(names) > 3 else "")


def tiffs(folder: Path) -> dict[str, Path]:
    """The GeoTIFFs of a folder by name without ending; hidden files, such as those macOS leaves, are none.

    Raises:
        DataError: the folder is missing or has none, or a name cannot be an identity.
    """
    paths = [path for path in sorted(folder.glob("[!.]*")) if not path.is_dir()]
    images = [path for path in paths if path.suffix.lower() in ENDINGS]
    if not images:
        others = f"{len(paths)} other files ({few([path.name for path in paths])})" if paths else "none"
        message = f"{folder}: expected GeoTIFFs (.tif, .tiff), found {others}"
        raise DataError(f"{message}; put the images there or correct {CARD}")
    names = [_name(path) for path in images]
    refuse_repeated(names, str(folder))
    return dict(zip(names, images, strict=True))


def _name(path: Path) -> str:
    """The identity of an image, which lists and stores keep on a line of its own."""
    if path.stem.splitlines() != [path.stem]:
        raise DataError(f"{path.parent}: the file name {path.name!r} has a line break; rename the file")
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path.parent}: the file name {path.name!r} is not UTF-8; rename the file") from error
    return composed(path.stem)


def note_left_out(folder: Path, read: Iterable[Path]) -> None:
    """Log, in one line, how many files below ``folder`` could be images and are not among those that are ``read``."""
    kinds: dict[str, list[str]] = {}
    known = set(read)
    for base, _, names in os.walk(folder, followlinks=True):
        for path in sorted(Path(base, name) for name in names):
            place, ending = path.relative_to(folder), path.suffix.lower()
            if path in known:
                continue
            if any(part.startswith(".") for part in place.parts):
                kinds.setdefault("hidden", []).extend([str(place)] * (ending in ENDINGS))
            elif ending in ENDINGS:
                kinds.setdefault("in other folders", []).append(str(place))
            elif ending not in COMPANIONS:
                kinds.setdefault("not named .tif or .tiff", []).append(str(place))
    found = [f"{len(names)} {kind} ({few(sorted(names))})" for kind, names in kinds.items() if names]
    if found:
        remedy = "move or convert those that are images"
        log.warning("%s: files that are not read: %s; %s", folder, "; ".join(found), remedy)
