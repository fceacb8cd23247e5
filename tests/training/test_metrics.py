"""Metrics compared with plain counting; what has no label and absent classes are ignored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deflect.analysis.bootstrap import r2
from deflect.settings import METRICS
from deflect.training.metrics import Scores
from deflect.training.outcomes import confusions, error_sums

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


# ---------------------------------------------------------------- several labels per image, and numbers


def plain_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """The precision at every distinct threshold, weighted by the recall that it adds."""
    found, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        right = (truth & chosen).sum()
        found += (right / truth.sum() - recall) * right / chosen.sum()
        recall = right / truth.sum()
    return found


def several_labels(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    truth = (torch.rand(n, 4, generator=generator) < torch.tensor([0.5, 0.2, 0.1, 0.0])).long()
    scores = (0.3 * truth + 0.7 * torch.rand(n, 4, generator=generator)).mul(20).round() / 20  # with ties
    return truth, scores


def test_multilabel_equals_plain_counting() -> None:
    truth, scores = several_labels()
    scores[:, 3] = 0.1  # a class in neither labels nor predictions
    metrics, confusion = scored("multilabel", truth, scores)
    y, p = truth.bool().numpy(), scores.numpy()
    precisions = [plain_average_precision(p[:, k], y[:, k]) for k in range(3)]
    assert list(metrics["AP"].values())[:3] == pytest.approx(precisions, abs=1e-6)
    assert metrics["AP"]["ship"] is None
    assert metrics["mAP"] == pytest.approx(np.mean(precisions), abs=1e-6)
    f1 = [2 * (y[:, k] & (p[:, k] > 0.5)).sum() / (y[:, k].sum() + (p[:, k] > 0.5).sum()) for k in range(3)]
    assert list(metrics["F1"].values()) == pytest.approx([*f1, None], abs=1e-6)
    assert metrics["f1_macro"] == pytest.approx(np.mean(f1), abs=1e-6)
    assert metrics["accuracy"] == pytest.approx(((p > 0.5) == y).mean(), abs=1e-6)
    assert confusion == []


def test_absent_classes_of_a_multilabel_count_as_zero_if_asked() -> None:
    truth, scores = several_labels()
    scores[:, 3] = 0.9  # never true, always predicted: F1 is 0, and there is no average precision
    found = Scores("multilabel", CLASSES)
    found.update(scores, truth)
    metrics, _ = found.compute()
    assert metrics["F1"]["ship"] == 0
    assert metrics["AP"]["ship"] is None
    assert found.present == {"mAP": 0.75, "f1_macro": 1.0}


def test_regression_equals_plain_formulas_on_large_numbers() -> None:
    """The squares of these numbers differ in digits that float32 lacks."""
    generator = torch.Generator().manual_seed(2)
    truth = 1e4 + torch.randn(60, generator=generator)
    predicted = truth + 0.5 * torch.randn(60, generator=generator)
    truth[7] = torch.nan
    metrics, confusion = scored("regression", truth, predicted)
    y, p = (values[~torch.isnan(truth)].double().numpy() for values in (truth, predicted))
    assert metrics["R2"] == pytest.approx(1 - ((p - y) ** 2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-6)
    assert metrics["RMSE"] == pytest.approx(np.sqrt(((p - y) ** 2).mean()), rel=1e-6)
    assert metrics["MAE"] == pytest.approx(np.abs(p - y).mean(), rel=1e-6)
    assert confusion == []


def test_a_batch_without_numbers_changes_nothing() -> None:
    truth, predicted = torch.randn(6, 5, 5), torch.randn(6, 5, 5)
    before = scored("pixel_regression", truth[3:], predicted[3:])
    truth[:3] = torch.nan
    assert scored("pixel_regression", truth, predicted) == before


def test_sums_per_image_give_the_r2_of_all_pixels() -> None:
    truth, predicted = 50 + torch.randn(6, 5, 5), 50 + torch.randn(6, 5, 5)
    truth[0, :2] = torch.nan
    sums = error_sums(predicted, truth).numpy()
    assert sums[:, 0].tolist() == [15, 25, 25, 25, 25, 25]
    assert r2(sums.sum(0)) == pytest.approx(scored("pixel_regression", truth, predicted)[0]["R2"], rel=1e-9)


SHARED = """
import sys, torch, torch.distributed as dist
from deflect.training.metrics import Scores

rank, generator = int(sys.argv[1]), torch.Generator().manual_seed(0)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
predicted, numbers = torch.rand(9, 3, generator=generator), torch.randn(9, generator=generator)
several, one = (predicted + torch.rand(9, 3, generator=generator) > 1).long(), torch.randn(9, generator=generator)
for task, p, y in (("multilabel", predicted, several), ("regression", numbers, one)):
    alone = Scores(task, "abc")
    alone.update(p, y)
    for mine in (slice(rank, None, 2), slice(9 if rank else 0, None)):  # the second time one has all images
        shared = Scores(task, "abc", shared=True)
        if len(p[mine]):
            shared.update(p[mine], y[mine])
        torch.testing.assert_close(shared.compute()[0], alone.compute()[0])
dist.destroy_process_group()
"""


def test_two_processes_find_the_metrics_of_one(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", SHARED, str(rank), str(tmp_path / "meeting")] for rank in (0, 1)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
