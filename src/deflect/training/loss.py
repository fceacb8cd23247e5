"""The losses of the tasks, summed over labels; -1, or NaN of a regression, is no label.

Classification and segmentation: cross-entropy. Multilabel: binary cross-entropy of each class. Regressions: squared
error in standard deviations of the training labels. Two settings of training are for imbalanced data:

* ``class_weights: balanced`` weights a label by the inverse frequency of its class among the labels of the training
  split, on average over classes 1 (King and Zeng, Logistic Regression in Rare Events Data, 2001, as
  ``compute_class_weight`` of scikit-learn). In a multilabel the positive labels of a class are weighted by its number
  of negative ones over that of positive ones, as ``pos_weight`` of torch.
* ``focal_gamma`` multiplies the loss of a label by (1 - p)^gamma, with p the probability of the true class, so that
  labels that are predicted well count less (Lin et al., Focal Loss for Dense Object Detection, ICCV 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.data.store import StoreCard
from deflect.errors import ConfigError
from deflect.settings import REGRESSIONS
from deflect.settings.training import TrainSettings


@dataclass(frozen=True)
class Loss:
    """The loss of a task, called with predictions and labels; returns its sum and what the sum is divided by.

    The mean of a window without labels is 0 / 0, and devices that share a batch divide by the count of the whole batch.

    Attributes:
        std: of the training labels of a regression.
        weights: of classes, (K,), or None for equal ones.
        gamma: of the focal loss; 0 for none.
    """

    task: str
    std: float = 1.0
    weights: Tensor | None = None
    gamma: float = 0.0

    @classmethod
    def of(cls, card: StoreCard) -> Loss:
        """The plain loss of a dataset's task, with which models are scored."""
        return cls(card.task, card.target[1] if card.target else 1.0)

    @classmethod
    def training(cls, split: Any, settings: TrainSettings, device: torch.device) -> Loss:
        """The loss of training on the labels of ``split``.

        Raises:
            ConfigError: a regression, which has no classes, with settings for imbalanced ones.
        """
        card = split.card
        balanced = settings.class_weights == "balanced"
        if card.task in REGRESSIONS and (balanced or settings.focal_gamma):
            raise ConfigError(f"{card.name}: training.class_weights and focal_gamma: not for a regression; leave out")
        weights = balanced_weights(split).to(device) if balanced else None
        return cls(card.task, cls.of(card).std, weights, settings.focal_gamma)

    def __call__(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of logits (B, K) or (B, K, H, W), or of numbers (B, 1) or (B, 1, H, W)."""
        if self.task in REGRESSIONS:
            known = torch.isfinite(labels)
            errors = (outputs[:, 0] - labels.where(known, 0)) / self.std
            return (errors.square() * known).sum(), known.count_nonzero()
        if self.task == "multilabel":
            return self._binary(outputs, labels)
        known = torch.count_nonzero(labels != -1)
        if self.weights is None and not self.gamma:
            return F.cross_entropy(outputs, labels, ignore_index=-1, reduction="sum"), known
        losses = F.cross_entropy(outputs, labels, ignore_index=-1, reduction="none")
        if self.gamma:
            losses = _focal(losses, self.gamma)
        if self.weights is None:
            return losses.sum(), known
        weights = self.weights[labels.clamp(min=0)] * (labels != -1)
        return (weights * losses).sum(), weights.sum()

    def _binary(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        truth, count = labels.to(logits.dtype), torch.tensor(labels.numel(), device=labels.device)
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if self.gamma:
            losses = _focal(losses, self.gamma)
        if self.weights is not None:
            losses = losses * (1 + truth * (self.weights - 1))
        return losses.sum(), count


def _focal(losses: Tensor, gamma: float) -> Tensor:
    """(1 - p)^gamma times each loss -log p; where p is 1, the power has no gradient for gamma below 1."""
    return (-torch.expm1(-losses)).clamp_min(1e-6) ** gamma * losses


def balanced_weights(split: Any) -> Tensor:
    """Weights (K,) of the classes in the labels of a training split; 1, or 0 in a mean, for a class without any."""
    counts, labels = class_counts(split)
    if split.card.task == "multilabel":
        positive = np.maximum(counts, 1)
        return torch.from_numpy(np.where(counts > 0, (labels - counts) / positive, 1.0)).float()
    inverse = np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0)
    return torch.from_numpy(inverse / inverse[counts > 0].mean()).float()


def class_counts(split: Any) -> tuple[np.ndarray, int]:
    """Labels of each class (K,), and labelled images, of a ``Split``, ``Features`` or ``FewLabels``."""
    rows = getattr(split, "rows", None)
    labels = getattr(split, "split", split).labels
    rows = range(len(labels)) if rows is None else rows
    counts = np.zeros(len(split.card.classes), dtype=np.int64)
    for row in rows:  # one by one: maps of labels need not fit in memory
        label = np.asarray(labels[row].cpu() if isinstance(labels, Tensor) else labels[row])
        if split.card.task == "multilabel":
            counts += label.astype(np.int64)
        else:
            counts += np.bincount(label[label >= 0].ravel(), minlength=len(counts))
    return counts, len(rows)
