"""``manifest.json`` in a fetched folder: which source it came from, and size and SHA-256 of every file.

It is written before the folder gets its final name. A folder without one was placed by hand.
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


def write_manifest(folder: Path, source: Source | None, files: dict[str, dict[str, Any]]) -> None:
    """Describe ``folder``: ``files`` maps each path to its ``bytes`` and ``sha256``. No ``source``: placed by hand."""
    origins = [{"name": source.name, "version": source.version, "url": source.url}] if source else []
    layout = source.layout if source else "by hand"
    write_json(folder / MANIFEST, {"layout": layout, "sources": origins, "files": files})


def read_manifest(folder: Path) -> dict[str, Any]:
    return read_json(folder / MANIFEST)


def files_below(folder: Path) -> list[Path]:
    """Every file below ``folder``, in folders that are links too; hidden ones and the manifest left out."""
    return sorted(Path(entry.path) for entry in _files(folder, str(folder / MANIFEST)))


def folder_sha256(folder: Path) -> str:
    """Hash of names, sizes and times of the files below ``folder``; quick, nothing is read.

    It changes also where an older file takes the place of another, and names may hold any sign.
    """
    states = sorted(map(_state, _files(folder, str(folder / MANIFEST))))
    return hashlib.sha256("\0".join(states).encode("utf-8", "surrogateescape")).hexdigest()


def _state(entry: os.DirEntry[str]) -> str:
    facts = entry.stat()
    return f"{entry.path}\0{facts.st_size}\0{facts.st_mtime_ns}"


def _files(folder: Path | str, manifest: str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
    here = os.path.realpath(folder)
    if here in above:  # a link to a folder that holds it
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.path == manifest:
                continue
            if entry.is_dir():
                yield from _files(entry.path, manifest, (*above, here))
            elif entry.is_file():
                yield entry


def describe_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file below ``folder``."""
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    return {name: {"bytes": size, "sha256": digest} for name, size, digest in _read_all(folder, names)}


def _read_all(folder: Path, names: Collection[str]) -> Iterator[tuple[str, int, str]]:
    """Name, size and SHA-256 of each file, with one bar over all of them."""
    with bar(f"reading {folder}", sum((folder / name).stat().st_size for name in names), unit="B") as shown:
        for name in names:
            size, digest = (folder / name).stat().st_size, sha256_file(folder / name)
            shown.update(size)
            yield name, size, digest


def size_faults(folder: Path) -> list[str]:
    """Files that are missing or of another size than the manifest says; quick, nothing is read."""
    faults = []
    for name, facts in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{path}: missing")
        elif path.stat().st_size != facts["bytes"]:
            faults.append(f"{path}: {facts['bytes']} bytes expected, {path.stat().st_size} found")
    return faults


def content_faults(folder: Path) -> list[str]:
    """Files that are missing, or whose content differs from the manifest; reads everything."""
    faults = size_faults(folder)
    if faults:
        return faults
    files = read_manifest(folder)["files"]
    return [
        f"{folder / name}: sha256 {files[name]['sha256']} expected, another found ({human(size)})"
        for name, size, digest in _read_all(folder, files)
        if digest != files[name]["sha256"]
    ]
