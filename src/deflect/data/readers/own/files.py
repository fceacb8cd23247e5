"""Find the files of a user's own dataset: each is matched with the patterns of the card, and the others are counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path

from deflect.data.readers.own.card import CARD
from deflect.data.readers.own.pattern import Matcher, Pattern, composed, place_in
from deflect.data.readers.raster import DRIVERS
from deflect.errors import DataError, one_line

#: Endings of files that accompany images or document them; files with other endings may be images.
COMPANIONS = {".xml", ".ovr", ".msk", ".tfw", ".wld", ".prj", ".txt", ".md", ".rst", ".pdf", ".html", ".csv", ".tsv"}
COMPANIONS |= {".xls", ".xlsx", ".json", ".geojson", ".yaml", ".yml", ".toml", ".py", ".ipynb", ".sh", ".log", ".qml"}
COMPANIONS |= {".db", ".ini", ".sha256", ".md5", ""}
#: Names in a message.
SHOWN = 3


def few(names: Collection[object]) -> str:
    """The first names, for a message of one line."""
    return ", ".join(map(str, list(names)[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def find(path: Path) -> Path:
    """``path``, or the file with this name in another Unicode form."""
    if path.exists() or not path.parent.is_dir():
        return path
    return next((other for other in path.parent.iterdir() if composed(other.name) == composed(path.name)), path)


def walk(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, relative to it; links to folders are followed, except to one above."""
    start = len(str(folder)) + 1
    for base, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not _is_above(Path(base, name)))
        yield from (os.path.join(base[start:], name) for name in sorted(names))


def _refuse(error: OSError) -> None:
    """Files of a folder that cannot be read would be missed without a word."""
    raise DataError(one_line(error)) from error


def _is_above(folder: Path) -> bool:
    return folder.is_symlink() and folder.resolve() in {parent.resolve() for parent in folder.parents}


def is_hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path


class Found:
    """Files that match a pattern, by the id of their image; with ``{band}`` in it, one for each of ``words``."""

    def __init__(self, folder: Path, pattern: Pattern, words: Sequence[str] = ()) -> None:
        self.folder, self.pattern, self.words = folder, pattern, words
        self.match: Matcher = pattern.matcher({"band": words} if words else {})
        self.paths: dict[str, list[str]] = {}

    def add(self, path: str) -> str | None:
        """Keep a path relative to the folder if it matches; returns the id of its image."""
        parts = self.match(path)
        if parts is None:
            return None
        _require_line(self.folder, path)
        name = self.pattern.name(parts)
        place = place_in(self.words, parts["band"]) if self.words else 0
        paths = self.paths.setdefault(name, [""] * max(1, len(self.words)))
        if paths[place]:
            remedy = (
                f"put {{id}} for * in {self.pattern.text!r}" if "*" in self.pattern.text else "rename or remove one"
            )
            raise DataError(f"{self.folder}: {paths[place]} and {path} have one name, {name}; {remedy}")
        paths[place] = path
        return name

    def part(self, names: Iterable[str]) -> Found:
        """The files of some images alone."""
        part = copy(self)
        part.paths = {name: self.paths[name] for name in names}
        return part

    def parts(self, name: str) -> dict[str, str]:
        """The parts of the path of an image."""
        return self.match(next(filter(None, self.paths[name]))) or {}

    def require_all(self) -> None:
        """Raise DataError if an image lacks the file of a band."""
        lacking = [name for name, paths in self.paths.items() if not all(paths)]
        if lacking:
            lacks = ", ".join(word for word, path in zip(self.words, self.paths[lacking[0]], strict=True) if not path)
            raise DataError(
                f"{self.folder}: {len(lacking)} of {len(self.paths)} images lack files of bands ({few(lacking)}; the "
                f"first lacks {lacks}); add them, or correct images or bands in {CARD}"
            )


class LeftOut:
    """Counts the files that are not read."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, path: str) -> None:
        kind = _kind(path)
        if kind:
            self.counts[kind] += 1
            if self.counts[kind] <= SHOWN + 1:
                self.examples.setdefault(kind, []).append(path)

    def __str__(self) -> str:
        return "; ".join(f"{n} {kind} ({few(self.examples[kind])})" for kind, n in sorted(self.counts.items()))


def _kind(path: str) -> str:
    """How a file that is not read is counted; "" if it is no image."""
    ending = os.path.splitext(path)[1].lower()
    if ending in DRIVERS:
        return "hidden" if is_hidden(path) else "with other names or folders"
    return "" if is_hidden(path) or ending in COMPANIONS else "with other endings"


def _require_line(folder: Path, path: str) -> None:
    """The id of an image has to be one line of text."""
    name = os.path.basename(path)
    if name.splitlines() != [name]:
        raise DataError(f"{folder}: the file name {name!r} has a line break; rename the file")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{folder}: the file name {name!r} is not UTF-8; rename the file") from error
