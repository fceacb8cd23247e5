"""Checkpoints: from where a killed run goes on.

A checkpoint is written between two epochs, under a temporary name and then renamed. All randomness of an epoch comes
from the seed and the epoch's number, so a checkpoint holds no random state and a resumed run ends as an unkilled one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deflect.files import atomic_path


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one run: ``fingerprint`` tells whether a file that lies there is of this very run."""

    path: Path
    fingerprint: str
    every: int

    def due(self, epoch: int) -> bool:
        """Whether to write after ``epoch`` (0-based)."""
        return self.every > 0 and (epoch + 1) % self.every == 0

    def save(self, state: dict[str, Any]) -> None:
        with atomic_path(self.path) as aside:
            torch.save(state | {"fingerprint": self.fingerprint}, aside)

    def load(self) -> dict[str, Any] | None:
        """The state to go on from; ``None`` where there is none, it is damaged, or it is of another run."""
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file raises: the run can always start anew
            print(f"{self.path}: unreadable ({error}); starting at the first epoch", file=sys.stderr)
            return None
        if state.get("fingerprint") != self.fingerprint:
            print(f"{self.path}: of another configuration or code; starting at the first epoch", file=sys.stderr)
            return None
        return dict(state)

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
