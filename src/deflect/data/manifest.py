"""``manifest.json`` in a fetched folder: which source it came from, and size and SHA-256 of every file.

It is written before the folder gets its final name. A folder without one was placed by hand.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deflect.data.disk import human
from deflect.data.sources import Source
from deflect.files import read_json, sha256_file, write_json

MANIFEST = "manifest.json"


def write_manifest(folder: Path, sources: Sequence[Source], files: dict[str, dict[str, Any]]) -> None:
    """Describe ``folder``: ``files`` maps each path to its ``bytes`` and ``sha256``."""
    origins = [{key: getattr(source, key) for key in ("name", "version", "url")} for source in sources]
    layout = sources[0].layout if sources else "by hand"
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
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in files_below(folder)
    }


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
        f"{folder / name}: sha256 {facts['sha256']} expected, another found ({human(facts['bytes'])})"
        for name, facts in files.items()
        if sha256_file(folder / name) != facts["sha256"]
    ]
