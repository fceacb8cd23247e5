"""Scores of one split, by torchmetrics.

Classification: macro F1 (the headline), micro F1, accuracy. Segmentation: IoU per class, mIoU (the headline), macro F1,
accuracy. A class that occurs neither in the labels nor in the predictions of the split has no IoU (``None``) and stays
out of the macro means. Pixels labelled -1 count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Scores:
    """Collects predictions batch by batch; where they are ``shared``, ``compute`` sums over all processes."""

    def __init__(
        self, task: str, classes: Sequence[str], device: torch.device | str = "cpu", shared: bool = False
    ) -> None:
        # Late: torchmetrics takes over a second to import, and `deflect train --help` should not.
        from torchmetrics import MetricCollection
        from torchmetrics.classification import (
            MulticlassAccuracy,
            MulticlassConfusionMatrix,
            MulticlassF1Score,
            MulticlassJaccardIndex,
        )

        common: dict[str, Any] = {
            "num_classes": len(classes),
            "ignore_index": -1,
            "validate_args": False,
            "sync_on_compute": shared,
        }
        metrics = {
            "f1_macro": MulticlassF1Score(average="macro", **common),
            "accuracy": MulticlassAccuracy(average="micro", **common),
            "confusion": MulticlassConfusionMatrix(**common),
        }
        if task == "classification":
            metrics["f1_micro"] = MulticlassF1Score(average="micro", **common)
            groups = [["f1_macro"], ["accuracy", "f1_micro"], ["confusion"]]
        else:
            metrics["IoU"] = MulticlassJaccardIndex(average="none", **common)
            metrics["mIoU"] = MulticlassJaccardIndex(average="macro", **common)
            groups = [["f1_macro"], ["accuracy"], ["confusion", "IoU", "mIoU"]]  # a group shares its counts
        self.classes = list(classes)
        self.metrics = MetricCollection(metrics, compute_groups=groups).to(device)  # type: ignore[arg-type]

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        """Predicted and true classes of equal shape: (B,) or (B, H, W)."""
        self.metrics.update(predictions, labels)

    def compute(self) -> tuple[dict[str, Any], list[list[int]]]:
        """The metrics as plain numbers, and the confusion matrix (rows: truth)."""
        found = self.metrics.compute()
        confusion = found.pop("confusion")
        metrics: dict[str, Any] = {name: float(value) for name, value in found.items() if value.ndim == 0}
        if "IoU" in found:
            occurs = (confusion.sum(0) + confusion.sum(1) > 0).tolist()
            values = zip(self.classes, found["IoU"].tolist(), occurs, strict=True)
            metrics["IoU"] = {name: value if present else None for name, value, present in values}
        return metrics, confusion.tolist()


def confusions(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """One confusion matrix per image: (B, H, W) predictions and labels to (B, K, K) counts, rows: truth."""
    cells = labels * num_classes + predictions
    image = torch.arange(len(labels), device=labels.device).view(-1, 1, 1) * num_classes**2
    counts = torch.bincount((image + cells)[labels != -1], minlength=len(labels) * num_classes**2)
    return counts.view(len(labels), num_classes, num_classes)
