"""Save tensors as safetensors; errors of the disk become one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from deflect.errors import DeflectError, flat


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write ``tensors`` with the file mode of the user's umask; safetensors itself allows only the owner to read.

    Raises:
        DeflectError: the file cannot be written.
    """
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
        path.chmod(0o666 & ~_umask())
    except SafetensorError as error:
        reason = flat(error)
        raise DeflectError(f"{path}: cannot be written ({reason}); make room and start again") from error


def _umask() -> int:
    """The umask of this process; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
