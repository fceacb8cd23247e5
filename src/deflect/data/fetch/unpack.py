"""Unpack archives safely and atomically.

Members may only become plain files below one folder: absolute paths, ``..``, links, devices and repeated names are
refused, and so are archives that are far larger than in the catalog. The files are written to a hidden folder, which is
renamed at the end.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from deflect.data.disk import human, naming_full_disk, require_space
from deflect.data.fetch.sources import Source
from deflect.data.manifest import MANIFEST, write_manifest
from deflect.data.simulate import MARKER
from deflect.errors import DataError, flat
from deflect.progress import bar

CHUNK = 1 << 20
LONGEST_HEADER = 4 << 20  # bytes; usual headers have a few hundred
TOLERANCE = 1.5  # the catalog's sizes are approximate; a bomb is larger by orders of magnitude
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


class _File(NamedTuple):
    """A plain file in an archive: its safe path, its stated size, and its content, opened once."""

    path: PurePosixPath
    size: int
    content: IO[bytes]


def unpack(archive: Path, target: Path, source: Source) -> None:
    """Unpack a .zip or .tar(.gz) archive into ``target``, with a manifest. A single top folder is removed."""
    aside = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)  # left by a killed process
    expected = source.unpacked_bytes or archive.stat().st_size * 20
    require_space(target.parent, expected)
    aside.mkdir(parents=True)
    try:
        files = _extract(archive, aside, expected)
        entries = list(aside.iterdir())
        top = entries[0] if len(entries) == 1 and entries[0].is_dir() else aside
        write_manifest(top, source, {(aside / path).relative_to(top).as_posix(): files[path] for path in files})
        if target.is_dir():
            target.rmdir()  # it is empty; rename cannot replace a full one
        os.replace(top, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _extract(archive: Path, aside: Path, expected: int) -> dict[PurePosixPath, dict[str, Any]]:
    """Write every member below ``aside``; returns its size and SHA-256 by path."""
    found: dict[PurePosixPath, dict[str, Any]] = {}
    with open(archive, "rb") as opened:
        members = _zip_members if opened.read(2) == b"PK" else _tar_members
    written, limit = 0, int(expected * TOLERANCE)
    try:
        with naming_full_disk(aside), bar(f"unpacking {archive.name}", expected, unit="B") as shown:
            for file in members(archive):
                written += file.size
                if written > limit:
                    raise DataError(f"{archive}: expands beyond {human(limit)}, more than in the catalog; refused")
                if file.path in found:
                    raise DataError(f"{archive}: two members have the name {file.path}; refused")
                found[file.path] = _copy(file, aside / file.path)
                shown.update(file.size)
    except DAMAGE as error:
        raise DataError(f"{archive}: cannot be unpacked ({flat(error)}); delete it and fetch again") from error
    if not found:
        raise DataError(f"{archive}: contains no file; delete it and fetch again")
    return found


def _zip_members(archive: Path) -> Iterator[_File]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            path = _safe_path(info.filename, plain, archive)
            if not info.is_dir() and path.parts[:1] != ("__MACOSX",):
                with opened.open(info) as content:
                    yield _File(path, info.file_size, content)


def _tar_members(archive: Path) -> Iterator[_File]:
    """Members of a plain or gzipped archive, in order, with headers of limited size."""
    with open(archive, "rb") as plain:
        zipped = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        bounded = _Bounded(gzip.GzipFile(fileobj=plain) if zipped else plain)  # type: ignore[arg-type]
        with tarfile.open(fileobj=bounded, mode="r:") as opened:  # type: ignore[call-overload]
            for member in opened:
                path = _safe_path(member.name, member.isreg() or member.isdir(), archive)
                content = opened.extractfile(member)
                if content is not None:
                    yield _File(path, member.size, content)


class _Bounded:
    """A file that refuses long reads, since ``tarfile`` reads pax and GNU headers of any stated length."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)


def _safe_path(name: str, plain: bool, archive: Path) -> PurePosixPath:
    """The name of a member as a path inside the target folder."""
    path = PurePosixPath(name)
    if not plain:
        raise DataError(f"{archive}: {name} is a link or a device; refused")
    if path.name in (MANIFEST, MARKER):
        raise DataError(f"{archive}: member {name!r} has the name of a file that deflect writes; refused")
    if not name or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        raise DataError(f"{archive}: member {name!r} would be written outside its folder; refused")
    return path


def _copy(file: _File, target: Path) -> dict[str, Any]:
    """Write one member as a plain file of exactly the size that the archive states."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, written = hashlib.sha256(), 0
    with open(target, "xb") as out:
        while written <= file.size and (chunk := file.content.read(CHUNK)):
            written += out.write(chunk)
            digest.update(chunk)
    if written != file.size:
        raise DataError(f"{file.path}: {file.size} bytes stated by the archive, {written} found; fetch it again")
    return {"bytes": written, "sha256": digest.hexdigest()}
