"""Tar archives as data from the net: no header may take the machine's memory."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

#: Most bytes read at once: headers take a few hundred, contents are read in chunks of 1 MB.
LONGEST_READ = 4 << 20


class _Bounded:
    """A file that refuses long reads. ``tarfile`` reads a pax or GNU header whole, as long as it states to be."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A plain or gzipped tar archive, for reading its members in order."""
    with open(path, "rb") as plain:
        zipped = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        content = gzip.GzipFile(fileobj=plain) if zipped else plain
        with tarfile.open(fileobj=_Bounded(content), mode="r:") as archive:  # type: ignore[call-overload, arg-type]
            yield archive
