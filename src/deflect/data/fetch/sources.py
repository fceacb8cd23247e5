"""The description of a file to download."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A file to download; optional facts are empty if the publisher does not state them."""

    name: str  # path below the folder it is fetched into
    url: str  # http(s) address, or ``gdrive:ID`` for Google Drive
    version: str = ""  # revision or record of the publisher
    archive_url: str = ""  # another address of the same file
    bytes: int | None = None
    unpacked_bytes: int | None = None  # approximate size of an unpacked archive
    sha256: str = ""  # in full, or its first digits
    md5: str = ""
    by_hand: str = ""  # how to get the file if no address works
    layout: str = ""  # published format, e.g. ``hdf5``
