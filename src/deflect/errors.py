"""The base class of every fault that a user can mend; the command line prints it as one line, without a traceback."""

from __future__ import annotations

import errno

FULL, DENIED = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)


class DeflectError(ValueError):
    """A fault with a remedy: the message names the file or key, what was expected, what was found and what to do."""


class ConfigError(DeflectError):
    """The configuration names something that does not exist or holds a value that cannot be used."""


class MethodError(DeflectError):
    """A method is unknown, wrongly set, or does not fit the GFM."""


def one_line(error: DeflectError | OSError) -> str:
    """A fault in one line with what to do, also where it is the system's."""
    if isinstance(error, DeflectError) or error.errno is None:
        return str(error)
    where, what = error.filename or "a file", (error.strerror or type(error).__name__).lower()
    if error.errno in FULL:
        return f"{where}: {what}; make room and start again, what is finished stays"
    if error.errno in DENIED:
        return f"{where}: {what}; give yourself the right to it, or use another folder"
    return f"{where}: {what}"


def flat(error: Exception) -> str:
    """The text of an error of some library without line breaks."""
    return " ".join(str(error).split())
