"""Tensors to a safetensors file, with the faults of the disk in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from deflect.errors import DeflectError, flat


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write copies of ``tensors`` on the CPU, readable as the user's mask says: safetensors lets nobody else read.

    Raises:
        DeflectError: the file cannot be written; safetensors says why, but not which file.
    """
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
        path.chmod(0o666 & ~_umask())
    except SafetensorError as error:
        reason = flat(error)
        raise DeflectError(f"{path}: cannot be written ({reason}); make room and start again") from error


def _umask() -> int:
    """The mask of this process, which can be read only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
