"""Test a finished run again with its saved weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deflect.data.store import Store
from deflect.trained.model import check_recorded, load_run
from deflect.training.scoring import score

#: Relative difference of the loss that another device or precision may cause.
ROUNDING = 0.01


@dataclass(frozen=True)
class Evaluation:
    """Test metrics found now, and those of the record."""

    folder: Path
    metric: str
    found: dict[str, Any]
    recorded: dict[str, Any]

    @property
    def identical(self) -> bool:
        """Equal to the last bit. Another device, number of threads or version of torch rounds differently."""
        return self.found == self.recorded

    @property
    def agrees(self) -> bool:
        """Whether rounding can explain the difference of the loss; the score changes in steps."""
        return math.isclose(self.found["loss"], self.recorded["loss"], rel_tol=ROUNDING)

    def __str__(self) -> str:
        text = f"{self.folder}: {self.metric} {self.found[self.metric]:.6f}, "
        if self.identical:
            return text + "identical to the record"
        text += f"in the record {self.recorded[self.metric]:.6f}"
        if self.agrees:
            return text + " (another rounding)"
        losses = f"loss {self.found['loss']:.4g}, in the record {self.recorded['loss']:.4g}"
        return text + f"; {losses}: more than rounding, so these are not the weights of the record; train the run again"


def evaluate(folder: Path, store: Path | None = None, weights: Path | None = None, device: str = "auto") -> Evaluation:
    """Load the adapter and head of the finished run in ``folder`` and test them.

    Args:
        store, weights: the prepared data and the GFM's weights; by default at the paths in the record.

    Raises:
        ModelError: the data or the weights differ from those of the record, or the head is damaged.
        DataError, FileNotFoundError: the run has not finished or its folder is damaged.
    """
    model = load_run(folder, weights, device)
    record = model.record
    data = Store(store or record["paths"]["store"])
    check_recorded(data.folder, "data", record["data"]["store_sha256"], data.card.sha256)
    data.verify()
    threads = torch.get_num_threads()
    torch.set_num_threads(record["device"]["threads"])
    try:
        result = score(model.network, data.split("test"), model.context)
    finally:
        torch.set_num_threads(threads)
    return Evaluation(model.folder, record["score"]["metric"], result.metrics, record["metrics"]["test"])
