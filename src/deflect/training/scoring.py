"""Prediction and scoring without gradient: whole images, or windows of images larger than the model's input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deflect.data.store import StoreCard
from deflect.errors import DeflectError
from deflect.settings import METRICS
from deflect.training.batches import Batches, evaluation_batches, fit_to
from deflect.training.context import Context
from deflect.training.metrics import Scores
from deflect.training.model import Inputs, TaskModel, cross_entropy_sum


class TrainingError(DeflectError):
    """Training cannot go on: a loss is no longer a number, or there is nothing to train."""


def window_origins(size: int, window: int) -> list[int]:
    """Evenly spread origins of the ceil(size / window) windows that cover ``size`` pixels, as PANGAEA places them."""
    return np.linspace(0, size - window, math.ceil(size / window)).round().astype(int).tolist()


def windows(images: Tensor, window: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """All windows of (B, C, S, S) images, window by window: (n * B, C, window, window), and their n origins."""
    origins = window_origins(images.shape[-1], window)
    corners = [(y, x) for y in origins for x in origins]
    return torch.cat([images[..., y : y + window, x : x + window] for y, x in corners]), corners


def predict(model: TaskModel, inputs: Inputs, size: int | None, context: Context) -> Tensor:
    """Logits (B, K) where ``size`` is None, else (B, K, size, size).

    Images larger than the model's input are seen through sliding windows whose overlapping logits are averaged;
    smaller ones are enlarged and their logits brought back to ``size``.
    """
    window = context.settings.image_size
    if not isinstance(inputs, Tensor):
        return model(inputs, None if size is None else (size, size))
    if size is None or inputs.shape[-1] <= window:
        return model(fit_to(inputs, window), None if size is None else (size, size))
    cut, corners = windows(inputs, window)
    logits = torch.cat([model(part) for part in cut.split(context.settings.eval_batch_size)]).split(len(inputs))
    total = logits[0].new_zeros(len(inputs), logits[0].shape[1], size, size)
    seen = total.new_zeros(size, size)
    for (y, x), part in zip(corners, logits, strict=True):
        total[..., y : y + window, x : x + window] += part
        seen[y : y + window, x : x + window] += 1
    return total / seen


@dataclass(frozen=True)
class Batch:
    """Logits and labels of some images; ``rows`` are their places in the split."""

    rows: np.ndarray
    logits: Tensor
    labels: Tensor


def predictions(model: TaskModel, split: Batches, context: Context) -> Iterator[Batch]:
    """Predict this process's share of a split, in order, in evaluation mode."""
    model.eval()
    shown = context.bar("predicting", len(split), "images")
    for rows, inputs, labels in evaluation_batches(split, context):
        with torch.inference_mode(), context.autocast():
            logits = predict(model, inputs, labels.shape[-1] if labels.ndim == 3 else None, context)
        yield Batch(rows, logits, labels)
        shown.update(len(labels) * context.ranks.world)
    shown.close()


@dataclass(frozen=True)
class Result:
    """Scores of one split: the headline ``score``, all ``metrics`` (``loss``: mean cross-entropy over all labels)."""

    score: float
    metrics: dict[str, Any]
    confusion: list[list[int]]

    def check(self, split: str) -> None:
        """Refuse numbers that no table may show: predictions of a diverged model are all class 0, and score as such.

        Raises:
            TrainingError: the loss or the score of ``split`` is not finite.
        """
        if not math.isfinite(self.metrics["loss"]):
            raise TrainingError(
                f"{split}: expected a finite loss, found {self.metrics['loss']}: the model has diverged, overflows in"
                " training.precision, or the images hold NaN; lower training.lr or check the data"
            )
        if not math.isfinite(self.score):
            raise TrainingError(f"{split}: expected a finite score, found {self.score}: no pixel of it has a label")


class Scorer:
    """Collects what a ``Result`` needs, batch by batch; several processes get the scores of all their images."""

    def __init__(self, card: StoreCard, context: Context) -> None:
        self.task, self.ranks = card.task, context.ranks
        self.scores = Scores(card.task, card.classes, context.device, context.ranks.world > 1)
        self.loss = torch.zeros(2, dtype=torch.float64, device=context.device)

    def add(self, batch: Batch) -> None:
        self.scores.update(batch.logits.argmax(1), batch.labels)
        self.loss += torch.stack(cross_entropy_sum(batch.logits, batch.labels)).double()

    def result(self) -> Result:
        self.ranks.sum_(self.loss)
        total, count = self.loss.tolist()
        metrics, confusion = self.scores.compute()
        metrics["loss"] = total / max(count, 1)
        return Result(metrics[METRICS[self.task]], metrics, confusion)


def score(model: TaskModel, split: Batches, card: StoreCard, context: Context) -> Result:
    """Score a split."""
    scorer = Scorer(card, context)
    for batch in predictions(model, split, context):
        scorer.add(batch)
    return scorer.result()
