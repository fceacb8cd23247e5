"""Fetch one file, of a dataset or the weights of a GFM.

A file is downloaded to a hidden part, compared with every known checksum and then renamed; a file that was placed by
hand is compared in the same way. Checksums are recorded in ``checksums.json`` of the folder and, if the publisher
states no full checksum, enforced from then on.
"""

from __future__ import annotations

import hashlib
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from deflect.data.disk import lock, require_space
from deflect.data.fetch.download import download
from deflect.data.fetch.sources import Source
from deflect.errors import DownloadError
from deflect.files import read_json, sha256_file, write_json

RECORD = "checksums.json"
HTML = (b"<!doctype html", b"<html")
_md5 = partial(hashlib.md5, usedforsecurity=False)
log = logging.getLogger(__name__)


def fetch_file(source: Source, folder: Path) -> Path:
    """The verified file of ``source`` in ``folder``, downloaded from the first address that works if it is missing.

    Raises:
        DownloadError: no address gives the right file, or the present file is wrong.
        DataError: the disk has no room for it.
    """
    target = folder / source.name
    with lock(folder, source.name):
        if not target.exists():
            _download(source, folder, target)
            return target
        try:
            _record(source, folder, _verified(target, source, folder))
        except DownloadError as error:
            raise DownloadError(f"{target}: {error}; delete it and fetch again") from error
    return target


def _download(source: Source, folder: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    require_space(part.parent, (source.bytes or 0) - (part.stat().st_size if part.exists() else 0))
    errors = []
    for url in filter(None, (source.url, source.archive_url)):
        log.info("fetching %s from %s", source.name, url)
        try:
            found = _download_verified(url, part, source, folder)
        except DownloadError as error:
            errors.append(f"{url}: {error}")
            continue
        _record(source, folder, found)  # before the rename: every complete file has a record
        os.replace(part, target)
        return
    by_hand = f"{source.by_hand}; then put the file at {target}" if source.by_hand else f"put it by hand at {target}"
    raise DownloadError(f"{source.name}: not fetched. {'. '.join(errors)}. To get it by hand: {by_hand}")


def _download_verified(url: str, part: Path, source: Source, folder: Path) -> dict[str, Any]:
    """Download to ``part`` and verify; a resumed part that is wrong is downloaded again from the start."""
    resumed = part.exists()
    download(url, part, size=source.bytes, checked=bool(source.sha256 or source.md5 or _recorded(source, folder)))
    try:
        return _verified(part, source, folder)
    except DownloadError:
        part.unlink()
        if not resumed:
            raise
    return _download_verified(url, part, source, folder)


def _verified(path: Path, source: Source, folder: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file that must be the one of ``source``."""
    size = path.stat().st_size
    with open(path, "rb") as file:  # sent for a file that moved or needs a login
        if file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(HTML):
            raise DownloadError("a web page, not the file")
    if size == 0 or (source.bytes is not None and size != source.bytes):
        raise DownloadError(f"{source.bytes or 'some'} bytes expected, {size} found")
    with open(path, "rb") as file:
        md5 = hashlib.file_digest(file, _md5).hexdigest() if source.md5 else ""
    found = {"sha256": sha256_file(path), "md5": md5}
    seen = f"{RECORD}, where it was first seen (delete its entry if it was bad)"
    for kind, expected, origin in (
        ("sha256", source.sha256, "the catalog"),
        ("md5", source.md5, "the catalog"),
        ("sha256", _recorded(source, folder), seen),
    ):
        if not found[kind].startswith(expected):
            raise DownloadError(f"{kind} {expected} expected by {origin}, {found[kind]} found")
    return {"bytes": size, "sha256": found["sha256"]}


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """``name -> {version, bytes, sha256}`` of every file verified in ``folder``."""
    path = folder / RECORD
    return read_json(path) if path.exists() else {}


def _recorded(source: Source, folder: Path) -> str:
    """The recorded SHA-256 of this version of the file; empty if there is none or the publisher states it in full."""
    record = read_record(folder).get(source.name, {})
    return record["sha256"] if record.get("version") == source.version and len(source.sha256) < 64 else ""


def _record(source: Source, folder: Path, found: dict[str, Any]) -> None:
    with lock(folder, RECORD):
        record, entry = read_record(folder), found | {"version": source.version}
        if record.get(source.name) != entry:
            write_json(folder / RECORD, record | {source.name: entry})
