"""Unpacking: a folder that is whole, or no folder.

An archive is data from the net. Its members may only become plain files below one folder: absolute paths, ``..``,
links, devices and repeated names are refused, and so is an archive that holds far more than the catalog says. All is
written to a hidden folder beside the final one, which gets its name by one rename at the end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from deflect.data.disk import human, naming_full_disk, require_space
from deflect.data.manifest import MANIFEST, write_manifest
from deflect.data.simulate import MARKER
from deflect.data.sources import Source
from deflect.data.tar import open_tar
from deflect.errors import DeflectError, flat
from deflect.progress import bar

CHUNK = 1 << 20
#: What stands for facts about a folder, and must not come from the net.
OWN = (MANIFEST, MARKER)
TOLERANCE = 1.5  # the catalog's sizes are partly computed; a bomb is larger by orders of magnitude
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


class UnpackError(DeflectError):
    """An archive is damaged, unsafe, or holds more than it should."""


@dataclass(frozen=True)
class _File:
    """A plain file in an archive: its safe path, its stated size, and its content, opened once."""

    path: PurePosixPath
    size: int
    content: IO[bytes]


def unpack(archive: Path, target: Path, source: Source, *, progress: bool | None = None) -> None:
    """Unpack a .zip or .tar(.gz) archive into ``target``, with a manifest. A single top folder is left out.

    Raises:
        UnpackError: the archive is damaged or unsafe; nothing of it is left.
        DiskFullError: there is no room.
    """
    aside = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)  # of a killed process
    expected = source.unpacked_bytes or archive.stat().st_size * 20
    require_space(target.parent, expected)
    aside.mkdir(parents=True)
    try:
        files = _extract(archive, aside, expected, progress)
        top = _single_top(aside)
        write_manifest(top, [source], {_below(name, top, aside): facts for name, facts in files.items()})
        if target.is_dir():
            target.rmdir()  # an empty one; rename refuses to replace a full one
        os.replace(top, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _extract(archive: Path, aside: Path, expected: int, progress: bool | None) -> dict[str, dict[str, Any]]:
    """Write every member below ``aside``; returns size and SHA-256 by path."""
    found: dict[str, dict[str, Any]] = {}
    with open(archive, "rb") as opened:
        members = _zip_members if opened.read(2) == b"PK" else _tar_members
    written, limit = 0, int(expected * TOLERANCE)
    try:
        with naming_full_disk(aside), bar(f"unpacking {archive.name}", expected, unit="B", show=progress) as shown:
            for file in members(archive, aside):
                written += file.size
                if written > limit:
                    raise UnpackError(f"{archive}: expands beyond {human(limit)}, more than the catalog says; refused")
                if str(file.path) in found:
                    raise UnpackError(f"{archive}: {file.path} stands in it twice; refused")
                found[str(file.path)] = _copy(file, aside / file.path)
                shown.update(file.size)
    except DAMAGE as error:
        reason = flat(error)
        raise UnpackError(f"{archive}: cannot be unpacked ({reason}); delete it and fetch again") from error
    if not found:
        raise UnpackError(f"{archive}: holds no file; delete it and fetch again")
    return found


def _zip_members(archive: Path, aside: Path) -> Iterator[_File]:
    with zipfile.ZipFile(archive) as opened:
        require_space(aside, sum(info.file_size for info in opened.infolist()))
        for info in opened.infolist():
            path = _safe_path(info.filename, archive)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnpackError(f"{archive}: {info.filename} is a link or a device; refused")
            if not info.is_dir() and path.parts[:1] != ("__MACOSX",):
                with opened.open(info) as content:
                    yield _File(path, info.file_size, content)


def _tar_members(archive: Path, _aside: Path) -> Iterator[_File]:
    with open_tar(archive) as opened:
        for member in opened:
            path = _safe_path(member.name, archive)
            if not (member.isreg() or member.isdir()):
                raise UnpackError(f"{archive}: {member.name} is a link or a device; refused")
            content = opened.extractfile(member)
            if content is not None:
                yield _File(path, member.size, content)


def _safe_path(name: str, archive: Path) -> PurePosixPath:
    """``name`` as a path that stays below the folder it is unpacked into."""
    path = PurePosixPath(name)
    if path.name in OWN:
        raise UnpackError(f"{archive}: member {name!r} has the name of a file that deflect itself writes; refused")
    if not name or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        raise UnpackError(f"{archive}: member {name!r} would be written outside its folder; refused")
    return path


def _copy(file: _File, target: Path) -> dict[str, Any]:
    """Write one member as a plain file, at most as long as the archive states."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, written = hashlib.sha256(), 0
    with open(target, "xb") as out:
        while chunk := file.content.read(CHUNK):
            written += len(chunk)
            if written > file.size:
                break
            out.write(chunk)
            digest.update(chunk)
    if written != file.size:
        raise UnpackError(f"{file.path}: {file.size} bytes stated by the archive, {written} found; fetch it again")
    return {"bytes": written, "sha256": digest.hexdigest()}


def _single_top(aside: Path) -> Path:
    """The only folder at the top of ``aside``, or ``aside`` itself."""
    entries = list(aside.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else aside


def _below(name: str, top: Path, aside: Path) -> str:
    return (aside / name).relative_to(top).as_posix()
