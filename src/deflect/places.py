"""What programs expect of a machine and batch systems or containers do not always give: folders and a user's name."""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Longest temporary folder in bytes. Sockets of Jupyter, W&B and Python itself are put up to 35 bytes below it, and the
#: path of a socket may have 107 bytes (Linux) or 103 (macOS).
LONGEST = 68
SHORT = ("/tmp", "/var/tmp", "/dev/shm")
#: Folders that libraries keep for themselves, and where they are without the variable, below HOME.
KEPT = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "MPLCONFIGDIR": ".config/matplotlib",
    "WANDB_CONFIG_DIR": ".config/wandb",
}


def make_usable() -> list[str]:
    """Give this process and those that it starts what is missing; returns a line for each change.

    Only variables of the environment change. A folder made here in place of one below HOME goes when this process ends.
    """
    return [*_temporary(), *_kept(), *_name()]


def _temporary() -> Iterator[str]:
    """TMPDIR, if it is no folder that can be written or too long for the path of a socket."""
    found = os.environ.get("TMPDIR", "")
    if not found or (writable(Path(found)) and len(os.fsencode(found)) <= LONGEST):
        return
    fault = (
        f"has more than {LONGEST} characters, too many for sockets" if writable(Path(found)) else "cannot be written"
    )
    for short in SHORT:
        if writable(Path(short)):
            os.environ["TMPDIR"] = tempfile.tempdir = short
            yield f"TMPDIR={found} {fault}; {short} is used"
            return
    yield f"TMPDIR={found} {fault}, nor can {', '.join(SHORT)} be written; set TMPDIR to a short folder that can"


def _kept() -> Iterator[str]:
    """Folders of libraries where HOME cannot be written; settings that can be read there still are."""
    home = Path(os.path.expanduser("~"))  # stays "~" where neither HOME nor the user's name is known
    places = {name: Path(os.environ.get(name) or home / place) for name, place in KEPT.items()}
    missing = {name: KEPT[name] for name, place in places.items() if not can_be_made(place)}
    if missing:
        aside = tempfile.mkdtemp(prefix="deflect-home-")
        atexit.register(shutil.rmtree, aside, ignore_errors=True)
        os.environ.update({name: f"{aside}/{place}" for name, place in missing.items()})
        if home.is_absolute():
            yield f"HOME={home} cannot be written; {', '.join(missing)} are set to a temporary folder"
        else:
            os.environ["HOME"] = aside
            yield "HOME is not set, and the user has no folder; one is lent here; Snakemake needs `export HOME=...`"


def _name() -> Iterator[str]:
    """A name for a user id that has none, as in many containers: libraries ask for it and fail without."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        name = os.environ["USER"] = os.environ["LOGNAME"] = f"user{os.getuid()}"
        yield f"the user id {os.getuid()} has no name on this machine; USER={name} is used"


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder that is there."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def can_be_made(folder: Path) -> bool:
    """Whether the folder, named from the root on, can be written, or made by one who needs it."""
    return folder.is_absolute() and writable(next(place for place in (folder, *folder.parents) if place.exists()))
