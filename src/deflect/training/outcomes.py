"""Arrays of the test split for figures, calibration and the bootstrap: ``predictions.npz`` and ``deflection.npz``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deflect.data.card import LABEL_TYPES
from deflect.data.store import Split
from deflect.methods.deflect.model import DeflectedGFM
from deflect.record import CONFIDENCE_BINS
from deflect.settings import PIXEL_TASKS, REGRESSIONS
from deflect.training.batches import evaluation_batches, fit_to
from deflect.training.context import Context
from deflect.training.metrics import decided
from deflect.training.scoring import windows

SAMPLES = 8


class Predictions:
    """Collects the arrays of ``predictions.npz``, batch by batch.

    All tasks: ``ids`` (N,). Classes: ``nll`` (N,) float32, the negative log-likelihood of the true class, summed over
    the labelled pixels or the classes of an image; ``reliability`` (N, 15, 3), see `reliability`. Classification:
    ``labels, predictions`` (N,) and ``probabilities`` (N, K) float16. Multilabel: ``labels`` (N, K) uint8 and
    ``probabilities`` (N, K) float32. Segmentation: ``confusions`` (N, K, K) int32 with rows of truth. Regressions:
    ``sums`` (N, 4) float64, see `error_sums`; of images ``labels, predictions`` (N,) float32. Maps, for up to eight
    images: ``sample_ids``, ``sample_predictions`` and ``sample_labels`` (n, H, W), int8 or float32.
    """

    def __init__(self, split: Split) -> None:
        self.split, self.samples = split, sample_rows(len(split))
        self.parts: dict[str, list[Tensor]] = {}

    def add(self, rows: np.ndarray, logits: Tensor, labels: Tensor) -> None:
        """Row numbers in the split, logits or numbers, and labels of some images."""
        task = self.split.card.task
        predicted = decided(task, logits)
        if task in REGRESSIONS:
            found = {"sums": error_sums(predicted, labels)}
        elif task == "multilabel":
            found = _binary_arrays(logits, predicted, labels)
        else:
            found = _class_arrays(logits, predicted, labels)
        if task in ("classification", "regression"):
            found |= {"labels": labels, "predictions": predicted}
        if task == "segmentation":
            found["confusions"] = confusions(predicted, labels, len(self.split.card.classes)).int()
        if task in PIXEL_TASKS:
            chosen, dtype = torch.from_numpy(np.isin(rows, self.samples)), getattr(torch, LABEL_TYPES[task])
            samples = {"sample_predictions": predicted, "sample_labels": labels}
            found |= {name: values[chosen].to(dtype) for name, values in samples.items()}
        for name, value in found.items():
            self.parts.setdefault(name, []).append(value.cpu())

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: torch.cat(values).numpy() for name, values in self.parts.items()}
        arrays["ids"] = np.array(self.split.ids)
        if "sample_labels" in arrays:
            arrays["sample_ids"] = arrays["ids"][self.samples]
        return arrays


def _class_arrays(logits: Tensor, predicted: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """How likely the true classes are, and the probabilities of images."""
    likelihood = F.cross_entropy(logits, labels, ignore_index=-1, reduction="none")
    confidence = (logits.amax(1) - logits.logsumexp(1)).exp()  # of all maps at once, softmax would take K times this
    found = {
        "nll": likelihood.flatten(1).sum(1, dtype=torch.float64).float() if labels.ndim > 1 else likelihood,
        "reliability": reliability(confidence.cpu(), (predicted == labels).cpu(), (labels != -1).cpu()),
    }
    return found if labels.ndim > 1 else found | {"probabilities": logits.softmax(1).half()}


def _binary_arrays(logits: Tensor, probabilities: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The same of a multilabel (B, K), in which each class is a prediction: present where it has more than 0.5."""
    likelihood = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    right = (probabilities > 0.5) == labels.bool()
    confidence = torch.maximum(probabilities, 1 - probabilities)
    return {
        "nll": likelihood.sum(1),
        "reliability": reliability(confidence.cpu(), right.cpu(), torch.ones_like(right).cpu()),
        "labels": labels.to(torch.uint8),
        "probabilities": probabilities,
    }


def error_sums(predicted: Tensor, labels: Tensor) -> Tensor:
    """Per image the number of labels, the sums of them and of their squares, and that of squared errors: (B, 4)."""
    known = torch.isfinite(labels)
    truth, error = (values.double().where(known, 0) for values in (labels, predicted.double() - labels.double()))
    sums = torch.stack([known.double(), truth, truth.square(), error.square()], dim=1)
    return sums.view(len(labels), 4, -1).sum(2)


def sample_rows(n: int) -> np.ndarray:
    """Up to eight evenly spaced rows of a split of ``n`` images."""
    return np.linspace(0, n - 1, min(SAMPLES, n)).round().astype(int)


def confusions(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """One confusion matrix per image: (B, H, W) predictions and labels to (B, K, K) counts, rows: truth."""
    cells = labels * num_classes + predictions
    image = torch.arange(len(labels), device=labels.device).view(-1, 1, 1) * num_classes**2
    counts = torch.bincount((image + cells)[labels != -1], minlength=len(labels) * num_classes**2)
    return counts.view(len(labels), num_classes, num_classes)


def reliability(confidence: Tensor, right: Tensor, labelled: Tensor) -> Tensor:
    """Per image and bin of confidence the number of predictions, of right ones, and the sum of their confidence.

    The bins have equal width and include their upper edge (Guo et al. 2017). On the CPU, where sums have a fixed order.

    Args:
        confidence: of the predicted class, (B,) or (B, H, W).
        right, labelled: of the same shape; predictions without a label do not count.

    Returns:
        (B, CONFIDENCE_BINS, 3) float32.
    """
    bins = (confidence * CONFIDENCE_BINS).ceil().long().sub(1).clamp(0, CONFIDENCE_BINS - 1)
    image = torch.arange(len(bins)).view(-1, *[1] * (bins.ndim - 1))
    cells = (image * CONFIDENCE_BINS + bins)[labelled]
    values = torch.stack([torch.ones_like(confidence), right.float(), confidence])[:, labelled].double()
    sums = [torch.bincount(cells, weights=value, minlength=len(bins) * CONFIDENCE_BINS) for value in values]
    return torch.stack(sums, dim=-1).view(len(bins), CONFIDENCE_BINS, 3).float()


def deflection_by_class(adapted: DeflectedGFM, split: Split, context: Context) -> dict[str, Any]:
    """The arrays of ``deflection.npz``: how much the tokens of each class are deflected from the RGB path.

    ``angle`` (blocks, K) in radians and ``length`` (blocks, K) as a ratio are means over tokens, NaN for a class
    without tokens; ``count`` (K,) is the number of tokens. A token counts for each class by its share of the patch's
    labelled pixels, in a multilabel equally for every class of the image. A regression has one class, its target.
    """
    size, classes = context.settings.image_size, split.card.classes
    sums: dict[str, Tensor] = {}
    count = torch.zeros(len(classes), dtype=torch.float64)
    adapted.eval()
    with context.bar("deflection by class", len(split), "images") as shown:
        for _, images, labels in evaluation_batches(split, context):
            several, labels = len(images), as_classes(split.card.task, labels)
            assert isinstance(images, Tensor)
            if labels.ndim == 3 and images.shape[-1] > size:
                images, labels = windows(images, size)[0], labels_once(labels, size)
            for part, truth in zip(images.split(several), labels.split(several), strict=True):
                with torch.inference_mode(), context.autocast():
                    found = adapted.deflection(fit_to(part, size))
                share = token_classes(truth, len(classes), found["angle"].shape[-1]).double().cpu()
                count += share.sum((0, 1))
                for name in ("angle", "length"):
                    value = torch.einsum("nbl,blk->nk", found[name].double().cpu(), share)
                    sums[name] = sums.get(name, torch.zeros_like(value)) + value
            shown.update(several)
    means = {name: (value / count.where(count > 0, torch.nan)).numpy() for name, value in sums.items()}
    return means | {"count": count.numpy(), "classes": np.array(classes)}


def as_classes(task: str, labels: Tensor) -> Tensor:
    """Labels as classes: every number of a regression is class 0."""
    return labels if task not in REGRESSIONS else torch.where(torch.isfinite(labels), 0, -1)


def labels_once(labels: Tensor, window: int) -> Tensor:
    """Label maps (B, S, S) in all windows, as from ``windows``; a pixel in several of them has its label in one."""
    cut, corners = windows(labels[:, None], window)
    free = torch.ones_like(labels[0], dtype=torch.bool)
    for (y, x), part in zip(corners, cut.split(len(labels)), strict=True):
        here = free[y : y + window, x : x + window]
        part.masked_fill_(~here, -1)
        here.fill_(False)
    return cut[:, 0]


def token_classes(labels: Tensor, num_classes: int, tokens: int) -> Tensor:
    """Share of each class in each token: (B, tokens, K); rows sum to 1, or to 0 without any label.

    Args:
        labels: (B,) or (B, H, W) classes, or (B, K) of a multilabel.
    """
    if labels.ndim == 2:
        present = labels.float() / labels.sum(1, keepdim=True).clamp(min=1)
        return present[:, None].expand(-1, tokens, -1)
    hot = F.one_hot(labels.clamp(min=0), num_classes).float() * (labels != -1).unsqueeze(-1)
    if labels.ndim == 1:
        return hot[:, None].expand(-1, tokens, -1)
    side = int(tokens**0.5)
    shares = F.adaptive_avg_pool2d(hot.permute(0, 3, 1, 2), side).flatten(2).transpose(1, 2)
    return shares / shares.sum(-1, keepdim=True).clamp(min=1e-12)
