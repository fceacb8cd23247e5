"""The description of a file to download."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One file to download.

    Attributes:
        name: path of the file below the folder it is fetched into.
        url: http(s) address, or ``gdrive:ID`` for Google Drive.
        version: revision or record of the publisher.
        archive_url: another address of the same file, if known.
        bytes: size; None if not published.
        unpacked_bytes: approximate size of the unpacked archive; None for a file that is used as it is.
        sha256: checksum, or its first digits if no more is known.
        md5: checksum.
        by_hand: how to get the file if no address works.
        layout: published format, e.g. ``hdf5``.
    """

    name: str
    url: str
    version: str = ""
    archive_url: str = ""
    bytes: int | None = None
    unpacked_bytes: int | None = None
    sha256: str = ""
    md5: str = ""
    by_hand: str = ""
    layout: str = ""
