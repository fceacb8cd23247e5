"""The one test evaluation of a run, and the arrays of it that figures are drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.data.store import Split, StoreCard
from deflect.methods.deflect.model import DeflectedGFM
from deflect.progress import bar
from deflect.training.batches import evaluation_batches, fit_to
from deflect.training.context import Context
from deflect.training.metrics import confusions
from deflect.training.model import TaskModel
from deflect.training.scoring import Result, Scorer, predictions, windows

SAMPLES = 8


def final_test(model: TaskModel, split: Split, card: StoreCard, context: Context) -> tuple[Result, dict[str, Any]]:
    """Score a split and collect the arrays of ``predictions.npz``.

    Classification: ``ids, labels, predictions`` (N,). Segmentation: ``ids``, ``confusions`` (N, K, K) int32 with rows
    of truth, and for up to eight images spread over the split ``sample_ids``, ``sample_predictions`` and
    ``sample_labels`` (n, H, W) int8.
    """
    scorer = Scorer(card, context)
    chosen = set(sample_rows(len(split)).tolist())
    parts: dict[str, list[Tensor]] = {}
    for batch in predictions(model, split, context):
        scorer.add(batch)
        predicted = batch.logits.argmax(1)
        if card.task == "classification":
            found = {"labels": batch.labels, "predictions": predicted}
        else:
            samples = torch.tensor([int(row) in chosen for row in batch.rows])
            found = {
                "confusions": confusions(predicted, batch.labels, len(card.classes)).int(),
                "sample_predictions": predicted[samples].to(torch.int8),
                "sample_labels": batch.labels[samples].to(torch.int8),
            }
        for name, value in found.items():
            parts.setdefault(name, []).append(value.cpu())
    arrays: dict[str, Any] = {name: torch.cat(values).numpy() for name, values in parts.items()}
    arrays["ids"] = np.array(split.ids)
    if card.task == "segmentation":
        arrays["sample_ids"] = arrays["ids"][sample_rows(len(split))]
    return scorer.result(), arrays


def sample_rows(n: int) -> np.ndarray:
    """Up to eight rows spread over a split of ``n`` images."""
    return np.linspace(0, n - 1, min(SAMPLES, n)).round().astype(int)


def deflection_by_class(adapted: DeflectedGFM, split: Split, card: StoreCard, context: Context) -> dict[str, Any]:
    """The arrays of ``deflection.npz``: how far each class's tokens are turned away from the RGB path.

    ``angle`` (blocks, K) in radians and ``length`` (blocks, K) as a ratio are means over tokens, NaN for a class
    without any; ``count`` (K,) is the number of tokens and ``classes`` their names. In a segmentation a token counts
    for each class by the share of its patch's labelled pixels.
    """
    size, num_classes = context.settings.image_size, len(card.classes)
    sums: dict[str, Tensor] = {}
    count = torch.zeros(num_classes, dtype=torch.float64)
    adapted.eval()
    shown = bar("deflection by class", len(split), unit="images")
    for _, images, labels in evaluation_batches(split, context):
        several = len(images)
        assert isinstance(images, Tensor)
        if labels.ndim == 3 and images.shape[-1] > size:
            images, labels = windows(images, size)[0], labels_once(labels, size)
        for part, truth in zip(images.split(several), labels.split(several), strict=True):
            with torch.inference_mode(), context.autocast():
                found = adapted.deflection(fit_to(part, size))
            tokens = found["angle"].shape[-1]
            share = token_classes(truth, num_classes, tokens).double().cpu()
            count += share.sum((0, 1))
            for name in ("angle", "length"):
                value = torch.einsum("nbl,blk->nk", found[name].double().cpu(), share)
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
        shown.update(several)
    shown.close()
    means = {name: (value / count.where(count > 0, torch.nan)).numpy() for name, value in sums.items()}
    return means | {"count": count.numpy(), "classes": np.array(card.classes)}


def labels_once(labels: Tensor, window: int) -> Tensor:
    """Label maps (B, S, S) in all windows, as ``windows`` cuts images; a pixel of several keeps its label in one."""
    cut, corners = windows(labels[:, None], window)
    free = torch.ones_like(labels[0], dtype=torch.bool)
    for (y, x), part in zip(corners, cut.split(len(labels)), strict=True):
        here = free[y : y + window, x : x + window]
        part.masked_fill_(~here, -1)
        here.fill_(False)
    return cut[:, 0]


def token_classes(labels: Tensor, num_classes: int, tokens: int) -> Tensor:
    """Share of each class in each token: (B, tokens, K), rows sum to 1, or to 0 where nothing is labelled."""
    hot = F.one_hot(labels.clamp(min=0), num_classes).float() * (labels != -1).unsqueeze(-1)
    if labels.ndim == 1:
        return hot[:, None].expand(-1, tokens, -1)
    side = int(tokens**0.5)
    shares = F.adaptive_avg_pool2d(hot.permute(0, 3, 1, 2), side).flatten(2).transpose(1, 2)
    return shares / shares.sum(-1, keepdim=True).clamp(min=1e-12)
