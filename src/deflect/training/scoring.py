"""Predict and score a split: whole images, or sliding windows over images larger than the model's input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deflect.errors import ModelError
from deflect.training.batches import Batches, Inputs, evaluation_batches, fit_to
from deflect.training.context import Context
from deflect.training.loss import Loss
from deflect.training.metrics import Scores, decided
from deflect.training.model import TaskModel

#: Called with row numbers in the split, logits (or numbers of a regression) and labels of a batch.
Keep = Callable[[np.ndarray, Tensor, Tensor], None]


@dataclass(frozen=True)
class Result:
    """Scores of one split: the headline ``score``, all ``metrics`` (``loss``: mean over all labels, see `Loss`).

    ``confusion`` is empty where a label is no single class.
    """

    score: float
    metrics: dict[str, Any]
    confusion: list[list[int]]

    def check(self, split: str) -> None:
        """Refuse the numbers of a diverged model, whose predictions are all class 0 and have a score.

        Raises:
            ModelError: the loss or the score of ``split`` is not finite.
        """
        if not math.isfinite(self.metrics["loss"]):
            raise ModelError(
                f"{split}: expected a finite loss, found {self.metrics['loss']}: the model has diverged, overflows in"
                " training.precision, or the images hold NaN; lower training.lr or check the data"
            )
        if not math.isfinite(self.score):
            raise ModelError(f"{split}: expected a finite score, found {self.score}: nothing has a label")


def score(model: TaskModel, split: Batches, context: Context, keep: Keep | None = None) -> Result:
    """Score a split over all processes; ``keep`` is called with each batch of logits."""
    card = split.card
    scores = Scores(card.task, card.classes, context.device, context.ranks.world > 1)
    loss, loss_of = torch.zeros(2, dtype=torch.float64, device=context.device), Loss.of(card)
    for rows, logits, labels in predictions(model, split, context):
        scores.update(decided(card.task, logits), labels)
        loss += torch.stack(loss_of(logits, labels)).double()
        if keep:
            keep(rows, logits, labels)
    context.ranks.sum_(loss)
    total, count = loss.tolist()
    metrics, confusion = scores.compute()
    if context.settings.absent_classes == "zero":
        metrics |= {name: float(scores.present[name] * metrics[name]) for name in scores.present}
    metrics["loss"] = total / max(count, 1)
    return Result(metrics[context.settings.metric(card.task)], metrics, confusion)


def predictions(model: TaskModel, split: Batches, context: Context) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Row numbers, logits and labels of this process's images, in order, in evaluation mode."""
    model.eval()
    with context.bar("predicting", len(split), "images") as shown:
        for rows, inputs, labels in evaluation_batches(split, context):
            with torch.inference_mode(), context.autocast():
                logits = predict(model, inputs, labels.shape[-1] if labels.ndim == 3 else None, context)
            yield rows, logits, labels
            shown.update(len(labels) * context.ranks.world)


def predict(model: TaskModel, inputs: Inputs, size: int | None, context: Context) -> Tensor:
    """Logits (B, K) where ``size`` is None, else (B, K, size, size).

    Larger images than the model's input are predicted in sliding windows, whose overlapping logits are averaged;
    smaller ones are enlarged and their logits resized to ``size``.
    """
    window, output = context.settings.image_size, None if size is None else (size, size)
    if not isinstance(inputs, Tensor):
        return model(inputs, output)
    if size is None or inputs.shape[-1] <= window:
        return model(fit_to(inputs, window), output)
    cut, corners = windows(inputs, window)
    logits = torch.cat([model(part) for part in cut.split(context.settings.eval_batch_size)]).split(len(inputs))
    total = logits[0].new_zeros(len(inputs), logits[0].shape[1], size, size)
    seen = total.new_zeros(size, size)
    for (y, x), part in zip(corners, logits, strict=True):
        total[..., y : y + window, x : x + window] += part
        seen[y : y + window, x : x + window] += 1
    return total / seen


def windows(images: Tensor, window: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """All windows of (B, C, S, S) images, window by window: (n * B, C, window, window), and the n origins."""
    origins = window_origins(images.shape[-1], window)
    corners = [(y, x) for y in origins for x in origins]
    return torch.cat([images[..., y : y + window, x : x + window] for y, x in corners]), corners


def window_origins(size: int, window: int, overlap: float = 0.0) -> list[int]:
    """Evenly spaced origins of the fewest windows that cover ``size`` pixels, as in PANGAEA.

    ``overlap``: the least share of a window that its neighbour covers too.
    """
    step = max(1.0, window * (1 - overlap))
    count = 1 + max(0, math.ceil((size - window) / step))
    return np.linspace(0, max(0, size - window), count).round().astype(int).tolist()
