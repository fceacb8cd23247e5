"""Metrics compared with plain counting; unlabelled pixels and absent classes are ignored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deflect.settings import METRICS
from deflect.training.metrics import Scores
from deflect.training.outcomes import confusions

CLASSES = ("water", "sand", "reef", "ship")


def counted(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    matrix = np.zeros((len(CLASSES), len(CLASSES)), int)
    for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
        if t != -1:
            matrix[t, p] += 1
    return matrix


def batches(n: int, *shape: int, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, classes, (n, *shape), generator=generator)
    predicted = torch.where(
        torch.rand(truth.shape, generator=generator) < 0.5,
        truth,
        torch.randint(0, classes, truth.shape, generator=generator),
    )
    return truth, predicted


def scored(task: str, truth: torch.Tensor, predicted: torch.Tensor) -> tuple[dict, list[list[int]]]:
    scores = Scores(task, CLASSES)
    for t, p in zip(truth.split(3), predicted.split(3), strict=True):
        scores.update(p, t)
    return scores.compute()


def test_classification_equals_plain_counting() -> None:
    truth, predicted = batches(50)
    metrics, confusion = scored("classification", truth, predicted)
    matrix = counted(truth.numpy(), predicted.numpy())
    assert confusion == matrix.tolist()
    hits = np.diag(matrix)
    f1 = 2 * hits / (matrix.sum(0) + matrix.sum(1))
    assert metrics["f1_macro"] == pytest.approx(f1.mean(), abs=1e-6)
    assert metrics["accuracy"] == pytest.approx(hits.sum() / matrix.sum(), abs=1e-6)
    assert metrics["f1_micro"] == pytest.approx(metrics["accuracy"], abs=1e-6)  # single label: the same by definition


def test_segmentation_equals_plain_counting_and_skips_unlabelled_pixels() -> None:
    truth, predicted = batches(7, 5, 6)
    truth[:, 0] = -1
    metrics, confusion = scored("segmentation", truth, predicted)
    matrix = counted(truth.numpy(), predicted.numpy())
    assert confusion == matrix.tolist()
    hits = np.diag(matrix)
    iou = hits / (matrix.sum(0) + matrix.sum(1) - hits)
    assert list(metrics["IoU"]) == list(CLASSES)
    assert list(metrics["IoU"].values()) == pytest.approx(iou.tolist(), abs=1e-6)
    assert metrics["mIoU"] == pytest.approx(iou.mean(), abs=1e-6)


def test_class_that_does_not_occur_has_no_iou_and_no_weight() -> None:
    truth, predicted = batches(7, 5, 6, classes=3)
    metrics, _ = scored("segmentation", truth, predicted)
    assert metrics["IoU"]["ship"] is None
    present = [metrics["IoU"][name] for name in CLASSES[:3]]
    assert metrics["mIoU"] == pytest.approx(np.mean(present), abs=1e-6)
    predicted[0, 0, 0] = 3  # wrongly predicted once: now it occurs, and counts with 0
    metrics, _ = scored("segmentation", truth, predicted)
    assert metrics["IoU"]["ship"] == 0
    assert metrics["mIoU"] < 0.9 * np.mean(present)


def test_prediction_at_unlabelled_pixels_changes_nothing() -> None:
    truth, predicted = batches(4, 5, 6)
    truth[:, 2] = -1
    before = scored("segmentation", truth, predicted)
    predicted[:, 2] = 3
    assert scored("segmentation", truth, predicted) == before


def test_headlines_are_among_the_metrics() -> None:
    for task, shape in (("classification", ()), ("segmentation", (4, 4))):
        metrics, _ = scored(task, *batches(6, *shape))
        assert 0 <= metrics[METRICS[task]] <= 1


def test_confusions_per_image_sum_to_the_confusion_matrix() -> None:
    truth, predicted = batches(7, 5, 6)
    truth[2] = -1
    found = confusions(predicted, truth, len(CLASSES))
    assert found.shape == (7, 4, 4)
    assert found[2].sum() == 0
    np.testing.assert_array_equal(found[5], counted(truth[5].numpy(), predicted[5].numpy()))
    assert found.sum(0).tolist() == scored("segmentation", truth, predicted)[1]
