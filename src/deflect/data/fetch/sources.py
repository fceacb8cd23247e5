"""Where published files are, their sizes and checksums. ``sources.csv`` lists the archive of each dataset."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("sources.csv")


@dataclass(frozen=True)
class Source:
    """One file to download.

    Attributes:
        name: path of the file below the folder it is fetched into.
        url: http(s) address, or ``gdrive:ID`` for Google Drive.
        version: revision or record of the publisher.
        archive_url: another address of the same file; empty where none is known.
        bytes: size; None where the publisher states none.
        unpacked_bytes: approximate size of the unpacked archive; None for a file that is used as it is.
        sha256: checksum, or its first digits where no more is known; empty where nothing is stated.
        md5: checksum; empty where none is stated.
        by_hand: how a person gets the file when no address works.
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


@cache
def published_archives() -> dict[str, Source]:
    """The archive of each published dataset, by the dataset's name."""
    found = {}
    with open(TABLE, newline="") as file:
        for row in csv.DictReader(file):
            dataset = row.pop("dataset")
            sizes = {key: int(row[key]) if row[key] else None for key in ("bytes", "unpacked_bytes")}
            found[dataset] = Source(**(row | sizes))  # type: ignore[arg-type]
    return found
