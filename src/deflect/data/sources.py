"""The table of sources: where each file of a dataset lies, how large it is, and by which checksum it is known.

``sources.csv`` is the table. A name with a ``*`` stands for all files of ``webdataset_shards.sha256`` that fit it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath

TABLE = Path(__file__).with_name("sources.csv")
SHARDS = Path(__file__).with_name("webdataset_shards.sha256")


@dataclass(frozen=True)
class Source:
    """One file to download.

    Attributes:
        name: path of the file below the folder it is fetched into.
        url: where it lies: http(s), or ``gdrive:ID`` for Google Drive.
        version: revision or record of the publisher.
        archive_url: a second place with the same file; empty where none is known.
        bytes: size; None where the publisher states none.
        unpacked_bytes: about how much an archive holds once unpacked; None where the file is used as it is.
        sha256: checksum, or only its first digits where no more is known; empty where nothing is stated.
        md5: checksum; empty where none is stated.
        licence: of the data.
        by_hand: how a person gets the file when no address works.
        dataset, layout: what the file belongs to; empty for files that are no dataset's.
    """

    name: str
    url: str
    version: str = ""
    archive_url: str = ""
    bytes: int | None = None
    unpacked_bytes: int | None = None
    sha256: str = ""
    md5: str = ""
    licence: str = ""
    by_hand: str = ""
    dataset: str = ""
    layout: str = ""


def shards() -> dict[str, str]:
    """SHA-256 of every webdataset shard by its path in the mirror."""
    lines = (line.split() for line in SHARDS.read_text().splitlines())
    return {path: digest for digest, path in lines}


def _sources(row: dict[str, str]) -> Iterator[Source]:
    """The sources of one row: one, or one per shard where the name has a ``*``."""
    sizes = {key: int(row[key]) if row[key] else None for key in ("bytes", "unpacked_bytes")}
    source = Source(**(row | sizes))  # type: ignore[arg-type]
    if "*" not in source.name:
        yield source
        return
    pattern = PurePosixPath(source.name).name
    for path, digest in shards().items():
        if fnmatch(path, source.name):
            yield replace(source, name=path, sha256=digest, url=source.url.replace(pattern, PurePosixPath(path).name))


@cache
def all_sources() -> tuple[Source, ...]:
    """Every file of every dataset, in the order of the table."""
    with open(TABLE, newline="") as file:
        return tuple(source for row in csv.DictReader(file) for source in _sources(row))


def sources_of(dataset: str) -> tuple[Source, ...]:
    """The files of ``dataset`` in all layouts, the preferred layout first."""
    return tuple(source for source in all_sources() if source.dataset == dataset)
