"""Progress of a run: a bar in a terminal, a few plain lines in a log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from deflect.progress import bar


class Progress:
    """Shows one line per epoch's result; ``title`` is the run's name."""

    def __init__(self, title: str, epochs: int, first: int = 0, show: bool = True) -> None:
        self.title, self.epochs, self.show = title, epochs, show
        self.bar: Any = None
        if show and sys.stderr.isatty():
            self.bar = bar(title, epochs, done=first, unit="epochs")

    def update(self, row: Mapping[str, float]) -> None:
        """Tell an epoch's numbers, a row of the history."""
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{row['train_loss']:.3f}", val=f"{row['val_score']:.3f}")
            self.bar.update()
        elif self.show and self._due(int(row["epoch"])):
            print(
                f"{self.title}: epoch {row['epoch']:.0f}/{self.epochs} train loss {row['train_loss']:.4f}"
                f" val loss {row['val_loss']:.4f} val score {row['val_score']:.4f} ({row['seconds']:.1f} s)",
                file=sys.stderr,
                flush=True,
            )

    def _due(self, epoch: int) -> bool:
        """The first and the last epoch, and three between them."""
        return epoch == 1 or epoch * 4 // self.epochs > (epoch - 1) * 4 // self.epochs

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
