"""What every step of a run needs to know: how to train, from which seed, on which device, beside which processes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from deflect.progress import bar
from deflect.settings.training import TrainSettings
from deflect.training.distributed import Ranks

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Context:
    """The settings of a run and its place: ``rank`` of ``world`` processes, each with its own ``device``."""

    settings: TrainSettings
    seed: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    ranks: Ranks = Ranks()  # noqa: RUF009 (immutable)

    def autocast(self) -> AbstractContextManager[Any]:
        """Run the forward pass in the precision of the settings."""
        precision = self.settings.precision
        return torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "float32")

    def bar(self, what: str, total: int, unit: str) -> Any:
        """Progress, shown by the first of several processes."""
        return bar(what, total, unit=unit, show=None if self.ranks.first else False)

    @property
    def alone(self) -> Context:
        """The same place seen as a single process, for work that every process does in full."""
        return Context(self.settings, self.seed, self.device)
