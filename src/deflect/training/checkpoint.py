"""Checkpoints, from which a killed run resumes.

A checkpoint is written between two epochs, under a temporary name, and then renamed. The random numbers of an epoch
depend only on the seed and the epoch, so a checkpoint has no random state and a resumed run gives the same result.
"""

from __future__ import annotations

import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from deflect.data.disk import require_space
from deflect.errors import DataError, flat
from deflect.files import atomic_path
from deflect.settings.training import TrainSettings


class Checkpoint:
    """The checkpoint of one run; an existing file belongs to it if it has the same ``fingerprint``."""

    def __init__(self, path: Path, fingerprint: str, settings: TrainSettings) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.every, self.pause = settings.checkpoint_every, 60 * settings.checkpoint_minutes
        self.last = time.monotonic()

    def due(self, epoch: int) -> bool:
        """Whether to write after ``epoch`` (0-based)."""
        return self.every > 0 and (epoch + 1) % self.every == 0 and time.monotonic() - self.last >= self.pause

    def save(self, state: dict[str, Any]) -> None:
        """Write the state.

        Raises:
            DataError: the disk is full; an older checkpoint is kept.
        """
        require_space(self.path.parent, _bytes(state))
        with atomic_path(self.path) as aside:
            try:
                torch.save(state | {"fingerprint": self.fingerprint}, aside)
            except RuntimeError as error:  # torch's writer gives no errno
                raise DataError(f"{self.path}: cannot be written ({flat(error)}); make room and start again") from error
        self.last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state; ``None`` if there is none, it is damaged, or it belongs to another run."""
        if not self.path.is_file():
            return None
        try:
            _require_whole(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file may raise anything, and the run can start from the beginning
            print(f"{self.path}: damaged ({flat(error)}); starting at the first epoch", file=sys.stderr)
            return None
        if state.get("fingerprint") != self.fingerprint:
            print(f"{self.path}: from another configuration or code; starting at the first epoch", file=sys.stderr)
            return None
        return dict(state)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


def _require_whole(path: Path) -> None:
    """Compare every part of the file with its checksum, which torch writes but does not check."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def _bytes(state: Any) -> int:
    """Bytes of all tensors in a nested state."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return sum(map(_bytes, parts))
