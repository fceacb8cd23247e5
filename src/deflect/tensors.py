"""Tensors to a safetensors file, with the faults of the disk in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from deflect.errors import DeflectError


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write copies of ``tensors`` on the CPU.

    Raises:
        DeflectError: the file cannot be written; safetensors says why, but not which file.
    """
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise DeflectError(f"{path}: cannot be written ({reason}); make room and start again") from error
