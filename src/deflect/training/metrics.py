"""The metrics of each task.

Classification: macro F1 (by default the headline), micro F1, accuracy. Segmentation: IoU per class, mIoU (headline),
macro F1, accuracy. Multilabel: mAP (headline), the mean of the classes' average precision; with a threshold of 0.5, F1
per class, macro F1, and accuracy over all labels. Regressions: R2 (headline), and RMSE and MAE in the unit of the
target, over all images or pixels together.

A class that is neither in the labels nor in the predictions of the split has no IoU and no F1 (``None``). It is left
out of the macro means, or is 0 in them (``absent_classes``); in mAP this holds for a class that is not in the labels.
Pixels labelled -1 or NaN are ignored.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deflect.settings import REGRESSIONS


def decided(task: str, outputs: Tensor) -> Tensor:
    """What a model's outputs (B, K, ...) say.

    Returns:
        Classes (B,) or (B, H, W); probabilities (B, K) of a multilabel; numbers (B,) or (B, H, W) of a regression.
    """
    if task == "multilabel":
        return outputs.sigmoid()
    return outputs[:, 0] if task in REGRESSIONS else outputs.argmax(1)


class Scores:
    """The metrics of a task, accumulated over batches; ``shared`` sums them over all processes.

    Attributes:
        present: of the means over classes that were computed last, the share of all classes that are in them.
    """

    def __init__(
        self, task: str, classes: Sequence[str], device: torch.device | str = "cpu", shared: bool = False
    ) -> None:
        from torchmetrics import MetricCollection  # takes over a second to import

        self.task, self.classes = task, list(classes)
        self.present: dict[str, float] = {}
        chosen, groups = _of_task(task, len(classes), shared)
        self.metrics = MetricCollection(chosen, compute_groups=groups).to(device)  # type: ignore[arg-type]
        if task == "multilabel":  # a process without images takes part in the exchange of probabilities too
            none = torch.zeros(0, len(classes), device=device)
            self.metrics["AP"].update(none, none.long())

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        """Predictions as of `decided`, and labels of equal shape."""
        if self.task in REGRESSIONS:
            known = torch.isfinite(labels)
            predictions, labels = predictions[known].double(), labels[known].double()
            if not len(labels):
                return
        self.metrics.update(predictions, labels)

    def compute(self) -> tuple[dict[str, Any], list[list[int]]]:
        """The metrics as plain numbers, and the confusion matrix (rows: truth), empty where there is none."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No positive samples")  # classes in no image, which the means leave out
            found = self.metrics.compute()
        if self.task in REGRESSIONS:
            return {name: float(value) for name, value in found.items()}, []
        if self.task == "multilabel":
            return self._multilabel(found["AP"].double(), found["counts"].double()), []
        confusion = found.pop("confusion")
        metrics: dict[str, Any] = {name: float(value) for name, value in found.items() if value.ndim == 0}
        occurs = confusion.sum(0) + confusion.sum(1) > 0
        self.present = {name: occurs.double().mean().item() for name in ("f1_macro", "mIoU") if name in metrics}
        if "IoU" in found:
            metrics["IoU"] = self._by_class(found["IoU"], occurs)
        return metrics, confusion.tolist()

    def _multilabel(self, precision: Tensor, counts: Tensor) -> dict[str, Any]:
        """From the average precision (K,), and right, false, absent, missed and true labels of each class (K, 5)."""
        right, false, absent, missed, support = counts.T
        total = 2 * right + false + missed
        means = {"mAP": (precision, support > 0), "f1_macro": (2 * right / total, total > 0)}
        self.present = {name: occurs.double().mean().item() for name, (_, occurs) in means.items()}
        return {
            **{name: values[occurs].mean().item() for name, (values, occurs) in means.items()},
            "accuracy": ((right + absent).sum() / (right + false + absent + missed).sum()).item(),
            "AP": self._by_class(*means["mAP"]),
            "F1": self._by_class(*means["f1_macro"]),
        }

    def _by_class(self, values: Tensor, occurs: Tensor) -> dict[str, float | None]:
        found = zip(self.classes, values.tolist(), occurs.tolist(), strict=True)
        return {name: value if present else None for name, value, present in found}


def _of_task(task: str, classes: int, shared: bool) -> tuple[dict[str, Any], list[list[str]]]:
    """The metrics by name, and groups of them that share their counts."""
    from torchmetrics import classification, regression

    synced: dict[str, Any] = {"sync_on_compute": shared}
    if task in REGRESSIONS:
        chosen: dict[str, Any] = {
            "R2": regression.R2Score(**synced),
            "RMSE": regression.MeanSquaredError(squared=False, **synced),
            "MAE": regression.MeanAbsoluteError(**synced),
        }
        for metric in chosen.values():  # sums of squares of large numbers differ in digits that float32 lacks
            metric.set_dtype(torch.float64)
        return chosen, [[name] for name in chosen]
    common = synced | {"validate_args": False}
    if task == "multilabel":
        common |= {"num_labels": classes, "average": "none"}
        chosen = {
            "AP": classification.MultilabelAveragePrecision(**common),
            "counts": classification.MultilabelStatScores(**common),
        }
        return chosen, [[name] for name in chosen]
    common |= {"num_classes": classes, "ignore_index": -1}
    chosen = {
        "f1_macro": classification.MulticlassF1Score(average="macro", **common),
        "accuracy": classification.MulticlassAccuracy(average="micro", **common),
        "confusion": classification.MulticlassConfusionMatrix(**common),
    }
    if task == "classification":
        chosen["f1_micro"] = classification.MulticlassF1Score(average="micro", **common)
        return chosen, [["f1_macro"], ["accuracy", "f1_micro"], ["confusion"]]
    chosen["IoU"] = classification.MulticlassJaccardIndex(average="none", **common)
    chosen["mIoU"] = classification.MulticlassJaccardIndex(average="macro", **common)
    return chosen, [["f1_macro"], ["accuracy"], ["confusion", "IoU", "mIoU"]]
