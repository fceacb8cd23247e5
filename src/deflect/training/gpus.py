"""Processes that start at the same time on a machine with several GPUs take different ones.

Snakemake counts the runs that may use a GPU, but assigns them no device.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TextIO

import torch

log = logging.getLogger(__name__)
_held: list[TextIO] = []


@cache
def free_gpu() -> int:
    """The number of the GPU that the fewest of this user's processes have taken; the same at every call."""
    count = torch.cuda.device_count()
    names = [str(torch.cuda.get_device_properties(number).uuid) for number in range(count)]
    if count < 2:
        return 0
    try:
        return take_one(names)
    except OSError as error:  # a file system without locks, or a folder of another user
        log.warning("no GPU can be reserved (%s); give each process its own with `--device cuda:N`", error)
        return 0


def take_one(names: Sequence[str]) -> int:
    """The number of the least taken of ``names``, which this process takes until it ends.

    A name has places, each a locked file; all first places are given away before any second one.
    """
    folder = Path(tempfile.gettempdir()) / f"deflect-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for turn in itertools.count():
        place, number = divmod(turn, len(names))
        file = (folder / f"{names[number]}.{place}").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)  # an open file keeps its lock
        return number
    raise AssertionError("there is always a next place")
