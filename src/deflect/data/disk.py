"""Disk space, and locks between processes."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deflect.errors import DataError

RESERVE = 64 << 20  # bytes that stay free on the disk
#: Errors of ``flock`` on Lustre mounted without it, and on NFS without its lock service.
WITHOUT_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
log = logging.getLogger(__name__)


def human(size: float) -> str:
    """``size`` bytes as text, e.g. ``2.6 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def require_space(folder: Path, needed: int) -> int:
    """The free bytes of the disk of ``folder``, which need not exist yet; an error if fewer than ``needed``."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed + RESERVE:
        raise DataError(
            f"{folder}: {human(needed + RESERVE)} of room needed, {human(free)} free; make room or use another disk"
        )
    return free


@contextmanager
def naming_full_disk(folder: Path, again: str = "fetch") -> Iterator[None]:
    """Turn ``ENOSPC`` into an error that names ``folder`` and the command to repeat, ``again``."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(f"{folder}: the disk is full; make room and {again} again, which resumes") from error
        raise


@contextmanager
def lock(folder: Path, name: str, *, shared: bool = False) -> Iterator[None]:
    """One process at a time for ``name`` in ``folder``; others log that they wait. Killed processes leave no lock.

    ``shared``: several that share it at a time, and none that has it alone.
    On a file system without locks, as on some clusters, only log a warning.
    """
    kind, guards = fcntl.LOCK_SH if shared else fcntl.LOCK_EX, folder / ".locks"
    guards.mkdir(parents=True, exist_ok=True)
    with open(guards / name.replace("/", "--"), "a+") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            log.info("%s: waiting for %s, which works on it", folder / name, file.read() or "another process")
            fcntl.flock(file, kind)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            log.warning("%s: this file system has no locks (%s); start one process at a time", folder, error.strerror)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
