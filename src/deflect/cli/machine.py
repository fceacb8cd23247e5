"""Provide what containers and batch systems sometimes lack: writable folders and a user name."""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Maximum length in bytes of the temporary folder's path. Jupyter, W&B and Python create sockets whose paths are up to
#: 35 bytes longer; a socket's path may have 107 bytes (Linux) or 103 (macOS).
LONGEST = 68
SHORT = ("/tmp", "/var/tmp", "/dev/shm")
#: Variables that name folders of libraries -> their default below HOME.
KEPT = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "MPLCONFIGDIR": ".config/matplotlib",
    "WANDB_CONFIG_DIR": ".config/wandb",
}


def make_usable() -> list[str]:
    """Set environment variables so that this process and its children find what they need; returns a line per change.

    A folder that replaces one below HOME is removed when this process ends.
    """
    return [*_temporary(), *_kept(), *_name()]


def _temporary() -> Iterator[str]:
    """Replace TMPDIR if it cannot be written or is too long for sockets."""
    found = os.environ.get("TMPDIR")
    if not found or (writable(Path(found)) and len(os.fsencode(found)) <= LONGEST):
        return
    long = writable(Path(found))
    problem = f"has more than {LONGEST} characters, too many for sockets" if long else "cannot be written"
    for short in SHORT:
        if writable(Path(short)):
            os.environ["TMPDIR"] = tempfile.tempdir = short
            yield f"TMPDIR={found} {problem}; {short} is used"
            return
    yield f"TMPDIR={found} {problem}, nor can {', '.join(SHORT)} be written; set TMPDIR to a short folder that can"


def _kept() -> Iterator[str]:
    """Replace the folders of libraries if HOME cannot be written; existing settings there are still read."""
    home = Path(os.path.expanduser("~"))  # stays "~" where neither HOME nor the user's name is known
    missing = {name: default for name, default in KEPT.items() if not _usable(os.environ.get(name) or home / default)}
    if missing:
        temporary = tempfile.mkdtemp(prefix="deflect-home-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        os.environ.update({name: f"{temporary}/{default}" for name, default in missing.items()})
        if home.is_absolute():
            yield f"HOME={home} cannot be written; {', '.join(missing)} are set to a temporary folder"
        else:
            os.environ["HOME"] = temporary
            yield "HOME is not set; a temporary folder is used. Snakemake itself needs `export HOME=...`"


def _name() -> Iterator[str]:
    """Name a user id that has no name, as in many containers: some libraries fail without one."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        name = os.environ["USER"] = os.environ["LOGNAME"] = f"user{os.getuid()}"
        yield f"the user id {os.getuid()} has no name on this machine; USER={name} is used"


def writable(folder: Path) -> bool:
    """Whether the folder exists and files can be created in it."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _usable(folder: str | Path) -> bool:
    """Whether the folder, an absolute path, can be written or created."""
    folder = Path(folder)
    return folder.is_absolute() and writable(next(path for path in (folder, *folder.parents) if path.exists()))
