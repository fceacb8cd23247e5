"""``manifest.json`` in a fetched folder: its source, and size and SHA-256 of every file.

A folder without a manifest was placed by hand.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from deflect.data.disk import human
from deflect.data.fetch.sources import Source
from deflect.files import read_json, sha256_file, write_json
from deflect.progress import bar

MANIFEST = "manifest.json"
#: Maximum size of a manifest in bytes: some millions of files.
LONGEST = 1 << 30


def write_manifest(folder: Path, source: Source | None, files: dict[str, dict[str, Any]]) -> None:
    """``files`` maps each path to its ``bytes`` and ``sha256``; ``source`` is None if they were placed by hand."""
    origins = [{"name": source.name, "version": source.version, "url": source.url}] if source else []
    layout = source.layout if source else "by hand"
    write_json(folder / MANIFEST, {"layout": layout, "sources": origins, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    return read_json(folder / MANIFEST, LONGEST)


def folder_sha256(folder: Path) -> str:
    """Hash of names, sizes and times of the files below ``folder``, which may have any name; nothing is read.

    Hidden files and the manifest are skipped, links to folders are followed.
    """
    digest, separator = hashlib.sha256(), ""
    for path in _files(str(folder), str(folder / MANIFEST)):
        state = os.stat(path)
        line = f"{separator}{path}\0{state.st_size}\0{state.st_mtime_ns}"
        digest.update(line.encode("utf-8", "surrogateescape"))
        separator = "\0"
    return digest.hexdigest()


def _files(folder: str, manifest: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of files, sorted; of a million files only the names in one folder are in memory."""
    here = os.path.realpath(folder)
    if here in above:  # a link to a parent folder
        return
    with os.scandir(folder) as entries:
        names = [_marked(entry) for entry in entries if not entry.name.startswith(".")]
    for name in sorted(names):
        path = f"{folder}/{name[:-1]}"
        if name.endswith("/"):
            yield from _files(path, manifest, (*above, here))
        elif name and path != manifest:
            yield path


def _marked(entry: os.DirEntry[str]) -> str:
    """The name and a mark with which names are in the order of whole paths: / of a folder; empty for no file."""
    return f"{entry.name}/" if entry.is_dir() else f"{entry.name}\0" if entry.is_file() else ""


def describe_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file that ``folder_sha256`` is of."""
    start = len(str(folder)) + 1
    return _read_all(folder, [path[start:] for path in _files(str(folder), str(folder / MANIFEST))])


def _read_all(folder: Path, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file, with one progress bar."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    found = {}
    with bar(f"reading {folder}", sum(sizes.values()), unit="B") as shown:
        for name, size in sizes.items():
            found[name] = {"bytes": size, "sha256": sha256_file(folder / name)}
            shown.update(size)
    return found


def size_errors(folder: Path) -> list[str]:
    """Files that are missing or have another size than in the manifest; quick, nothing is read."""
    errors = []
    for name, facts in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            errors.append(f"{path}: missing")
        elif path.stat().st_size != facts["bytes"]:
            errors.append(f"{path}: {facts['bytes']} bytes expected, {path.stat().st_size} found")
    return errors


def content_errors(folder: Path) -> list[str]:
    """Files that are missing or differ from the manifest; reads everything."""
    files = read_manifest(folder)["files"]
    return size_errors(folder) or [
        f"{folder / name}: sha256 {files[name]['sha256']} expected, another found ({human(found['bytes'])})"
        for name, found in _read_all(folder, files).items()
        if found["sha256"] != files[name]["sha256"]
    ]
