"""One file: verified under its final name, or not there.

A file is downloaded to a hidden part beside its final name, compared with every checksum that is known, and only then
renamed. A file that a person has put in its place is compared in the same way and used. What was found is recorded in
``checksums.json`` at the top of the folder; where the publisher states no full checksum, the record is enforced from
then on. Datasets and GFM weights are fetched by the same function.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from deflect.data.disk import lock, require_space
from deflect.data.download import DownloadError, Patience, download, drop_part, finish_part, is_html
from deflect.data.sources import Source
from deflect.errors import DeflectError
from deflect.files import read_json, write_json

RECORD = "checksums.json"
CHUNK = 1 << 20
log = logging.getLogger(__name__)


class FetchError(DeflectError):
    """A file cannot be fetched, or the one in its place is not the right one."""


def fetch_file(
    source: Source, folder: Path | str, *, progress: bool | None = None, patience: Patience | None = None
) -> Path:
    """The verified file of ``source`` in ``folder``: found there, or downloaded from the first address that gives it.

    Args:
        progress: show a bar; None shows it in a terminal only.
        patience: retries and pauses; the default suits the open net.

    Raises:
        FetchError: no address gives the right file, or the file in its place is a wrong one.
        DiskFullError: the disk has no room for it.
    """
    folder = Path(folder)
    target = folder / source.name
    with lock(folder, source.name):
        recorded = _recorded(source, folder)
        if target.exists():
            fault, found = _compare(target, source, recorded)
            if fault:
                raise FetchError(f"{target}: {fault}; delete it and fetch again")
            _record(source, folder, found)
        else:
            _fetch_anew(source, folder, recorded, progress, patience or Patience())
    return target


def _fetch_anew(
    source: Source, folder: Path, recorded: dict[str, Any], progress: bool | None, patience: Patience
) -> None:
    target = folder / source.name
    part = target.with_name(f".{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    require_space(part.parent, (source.bytes or 0) - (part.stat().st_size if part.exists() else 0))
    faults = []
    for url in filter(None, (source.url, source.archive_url)):
        log.info("fetching %s from %s", source.name, url)
        try:
            found = _download_checked(url, part, source, recorded, progress, patience)
        except DownloadError as error:
            faults.append(str(error))
            continue
        _record(source, folder, found)  # before the rename: a file with its final name always has its record
        finish_part(part, target)
        return
    by_hand = f"{source.by_hand}; then put the file at {target}" if source.by_hand else f"put it by hand at {target}"
    raise FetchError(f"{source.name}: not fetched. {'. '.join(faults)}. To get it by hand: {by_hand}")


def _download_checked(
    url: str, part: Path, source: Source, recorded: dict[str, Any], progress: bool | None, patience: Patience
) -> dict[str, Any]:
    """Download to ``part`` and compare; a resumed part that is wrong is fetched once more from its first byte."""
    checked = bool(source.sha256 or source.md5 or recorded)
    resumed = part.exists()
    download(url, part, size=source.bytes, checked=checked, progress=progress, patience=patience)
    fault, found = _compare(part, source, recorded)
    if fault:
        drop_part(part)
        if resumed:
            return _download_checked(url, part, source, recorded, progress, patience)
        raise DownloadError(f"{url}: {fault}")
    return found


def _compare(path: Path, source: Source, recorded: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What is wrong with the file (empty: nothing), and its size and SHA-256."""
    size = path.stat().st_size
    if is_html(path):
        return "a web page, not the file", {}
    if size == 0 or (source.bytes is not None and size != source.bytes):
        return f"{source.bytes or 'some'} bytes expected, {size} found", {}
    known = [
        ("sha256", source.sha256, "the catalog"),
        ("md5", source.md5, "the catalog"),
        (
            "sha256",
            recorded.get("sha256", ""),
            f"{RECORD}, where it was first seen (delete its entry if it was bad)",
        ),
    ]
    digests = _digests(path, {"sha256"} | {kind for kind, expected, _ in known if expected})
    for kind, expected, origin in known:
        if expected and not digests[kind].startswith(expected):
            return f"{kind} {expected} expected by {origin}, {digests[kind]} found", {}
    return "", {"bytes": size, "sha256": digests["sha256"]}


def _digests(path: Path, kinds: set[str]) -> dict[str, str]:
    """The checksums of ``kinds``, in one reading."""
    hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            for one in hashes.values():
                one.update(chunk)
    return {kind: one.hexdigest() for kind, one in hashes.items()}


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """``name -> {version, bytes, sha256}`` of every file that was ever verified in ``folder``."""
    path = folder / RECORD
    return read_json(path) if path.exists() else {}


def _recorded(source: Source, folder: Path) -> dict[str, Any]:
    """The record of this version of the file, if it is the only full checksum there is."""
    record = read_record(folder).get(source.name, {})
    return record if record.get("version") == source.version and len(source.sha256) < 64 else {}


def _record(source: Source, folder: Path, found: dict[str, Any]) -> None:
    with lock(folder, RECORD):
        record = read_record(folder)
        entry = found | {"version": source.version}
        if record.get(source.name) != entry:
            write_json(folder / RECORD, record | {source.name: entry})
