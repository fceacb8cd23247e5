"""Losses of the tasks, against formulas and torch's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_store import tiny_store

from deflect.errors import ConfigError
from deflect.settings.training import TrainSettings
from deflect.training.batches import Features, FewLabels
from deflect.training.loss import Loss, balanced_weights

CPU = torch.device("cpu")


def mean(loss: Loss, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    total, count = loss(outputs, labels)
    return total / count


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_the_default_loss_has_the_bits_of_cross_entropy(task: str) -> None:
    """Runs of earlier versions had this loss."""
    shape = () if task == "classification" else (4, 4)
    logits, labels = torch.randn(5, 3, *shape), torch.randint(-1, 3, (5, *shape))
    card = type("Card", (), {"task": task, "target": None})
    split = type("Split", (), {"card": card})
    total, count = Loss.training(split, TrainSettings(), CPU)(logits, labels)
    assert torch.equal(total, F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum"))
    assert count == (labels != -1).sum()


def test_multilabel_equals_binary_cross_entropy_by_hand() -> None:
    logits, labels = torch.randn(6, 3), torch.randint(0, 2, (6, 3))
    p, y = 1 / (1 + np.exp(-logits.double().numpy())), labels.numpy()
    by_hand = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert mean(Loss("multilabel"), logits, labels).item() == pytest.approx(by_hand, rel=1e-6)


def test_a_regression_is_scored_in_standard_deviations_of_its_target() -> None:
    numbers, labels = torch.tensor([[10.0], [14.0]]), torch.tensor([12.0, 15.0])
    assert mean(Loss("regression", std=2.0), numbers, labels).item() == pytest.approx((4 + 1) / 2 / 4)


def test_pixels_without_a_number_have_no_loss_and_no_gradient() -> None:
    numbers, labels = torch.randn(2, 1, 4, 4), torch.randn(2, 4, 4)
    labels[0, :2] = torch.nan
    numbers.requires_grad_()
    total, count = Loss("pixel_regression")(numbers, labels)
    total.backward()
    assert count == 2 * 16 - 8
    assert total.item() == pytest.approx((numbers.detach()[:, 0] - labels).square().nansum().item())
    assert (numbers.grad[0, 0, :2] == 0).all()
    assert (numbers.grad[0, 0, 2:] != 0).all()
    nothing = Loss("pixel_regression")(numbers, torch.full_like(labels, torch.nan))
    assert [value.item() for value in nothing] == [0, 0]


def test_class_weights_equal_those_of_torch() -> None:
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(-1, 3, (2, 4, 4))
    weights = torch.tensor([0.2, 1.0, 1.8])
    found = mean(Loss("segmentation", weights=weights), logits, labels)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, weight=weights, ignore_index=-1))
    logits, labels = torch.randn(6, 3), torch.randint(0, 2, (6, 3))
    found = mean(Loss("multilabel", weights=weights), logits, labels)
    expected = F.binary_cross_entropy_with_logits(logits, labels.float(), pos_weight=weights)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_by_hand(gamma: float) -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, -1])
    p = logits.softmax(1)[torch.arange(4), labels[:4]]
    torch.testing.assert_close(
        mean(Loss("classification", gamma=gamma), logits, labels), (-((1 - p) ** gamma) * p.log()).mean()
    )
    truth = torch.randint(0, 2, (5, 3))
    p = torch.where(truth == 1, logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(
        mean(Loss("multilabel", gamma=gamma), logits, truth), (-((1 - p) ** gamma) * p.log()).mean()
    )


def test_the_focal_loss_of_a_certain_prediction_has_a_finite_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    Loss("classification", gamma=0.5)(logits, torch.tensor([0]))[0].backward()
    assert torch.isfinite(logits.grad).all()


def test_balanced_weights_are_inverse_frequencies_of_the_labels_used(tmp_path: Path) -> None:
    train = tiny_store(tmp_path / "c", "classification", classes=3).split("train")
    rows = np.flatnonzero(train.labels == 0)[:4].tolist() + np.flatnonzero(train.labels == 1)[:1].tolist()
    few = balanced_weights(FewLabels(train, np.array(rows)))
    torch.testing.assert_close(few, torch.tensor([0.4, 1.6, 0.0]))  # 1/4 and 1, on average 1; none of class 2
    torch.testing.assert_close(balanced_weights(train), torch.ones(3))
    features = Features([torch.zeros(24, 2)], torch.from_numpy(np.array(train.labels)), train.card)
    torch.testing.assert_close(balanced_weights(FewLabels(features, np.array(rows))), few)
    maps = tiny_store(tmp_path / "s", "segmentation").split("train")
    assert balanced_weights(maps)[2] == 0  # a class without pixels
    several = tiny_store(tmp_path / "m", "multilabel").split("train")
    positive = several.labels.sum(0)
    torch.testing.assert_close(
        balanced_weights(several), torch.from_numpy((24 - positive) / positive).float(), check_dtype=False
    )


def test_a_regression_has_no_classes_to_weight(tmp_path: Path) -> None:
    split = tiny_store(tmp_path, "regression").split("train")
    for setting in ({"class_weights": "balanced"}, {"focal_gamma": 2.0}):
        with pytest.raises(ConfigError, match="class_weights and focal_gamma: not for a regression"):
            Loss.training(split, TrainSettings(**setting), CPU)
