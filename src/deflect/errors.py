"""Errors that a user can act on. The command line prints each as one line without a traceback."""

from __future__ import annotations

import errno

FULL, DENIED = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)


class DeflectError(ValueError):
    """The base class. The message has the file or key, what was expected, what was found and what to do."""


class ConfigError(DeflectError):
    """A setting, a name or a set of bands does not exist or cannot be used."""


class DataError(DeflectError):
    """A file of images, labels, weights or results is missing, damaged or not as expected, or the disk is full."""


class DownloadError(DeflectError):
    """No address gave the expected file."""


class ModelError(DeflectError):
    """A GFM or a method cannot be built, loaded, adapted, trained or evaluated as asked."""


def one_line(error: DeflectError | OSError) -> str:
    """An error in one line, for errors of the system with what to do."""
    if isinstance(error, DeflectError) or error.errno is None:
        return str(error)
    where, what = error.filename or "a file", (error.strerror or type(error).__name__).lower()
    if error.errno in FULL:
        return f"{where}: {what}; make room and start again, what is finished stays"
    if error.errno in DENIED:
        return f"{where}: {what}; change its permissions, or use another folder"
    return f"{where}: {what}"


def flat(error: Exception) -> str:
    """The message of an error without line breaks."""
    return " ".join(str(error).split())
