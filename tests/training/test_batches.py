"""From a split to batches: order, shares of processes, windows, flips and sizes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from deflect.data.store import Empty, Window
from deflect.settings.training import TrainSettings
from deflect.training.batches import batch_starts, fit_to, flipped, training_batches, training_window
from deflect.training.context import Context, Ranks


class Coded:
    """Images and labels whose pixels encode the image and the position."""

    def __init__(self, n: int, size: int) -> None:
        place = torch.arange(size * size).view(1, size, size) % 97
        self.maps = place + 97 * torch.arange(n).view(n, 1, 1)

    def __len__(self) -> int:
        return len(self.maps)

    def stored(self, rows: np.ndarray, empty: Empty, window: Window) -> tuple[Tensor, Tensor]:
        labels = torch.stack([self.maps[row][window(i, self.maps[row].numpy())] for i, row in enumerate(rows)])
        return labels[:, None].float(), labels

    def decode(self, stored: Tensor) -> Tensor:
        return stored


def rows_of(split: Coded, epoch: int, context: Context) -> list[list[int]]:
    return [(labels[:, 0, 0] // 97).tolist() for _, labels in training_batches(split, epoch, context)]


def test_order_depends_on_seed_and_epoch_alone_and_visits_every_image_once() -> None:
    split, context = Coded(21, 4), Context(TrainSettings(batch_size=8, image_size=4))
    first = rows_of(split, 0, context)
    assert [len(batch) for batch in first] == [8, 8, 5]
    assert sorted(itertools.chain(*first)) == list(range(21))
    assert rows_of(split, 0, context) == first
    assert rows_of(split, 1, context) != first
    assert rows_of(split, 0, replace(context, seed=1)) != first


def test_processes_share_each_batch() -> None:
    split, context = Coded(21, 4), Context(TrainSettings(batch_size=8, image_size=4))
    parts = [rows_of(split, 0, replace(context, ranks=Ranks(rank, 2))) for rank in (0, 1)]
    together = [sorted(a + b) for a, b in zip(*parts, strict=True)]
    assert together == [sorted(batch) for batch in rows_of(split, 0, context)]
    shared = replace(context, ranks=Ranks(0, 2))
    assert len(batch_starts(17, shared)) == 2  # the third batch would have one image for two processes
    assert len(batch_starts(18, shared)) == 3


@pytest.mark.parametrize("crop", ["random", "focus"])
@pytest.mark.parametrize("augment", [False, True])
def test_labels_stay_on_their_pixels(crop: str, augment: bool) -> None:
    settings = TrainSettings(image_size=8, crop=crop, augment=augment, batch_size=40)
    ((cut, truth),) = training_batches(Coded(40, 13), 0, Context(settings))
    assert isinstance(cut, Tensor)
    assert cut.shape == (40, 1, 8, 8)
    assert torch.equal(cut[:, 0].long(), truth)
    assert len({int(t[0, 0]) % 97 for t in truth}) > 5  # windows and orientations differ


def test_random_windows_are_uniform() -> None:
    label = np.zeros((13, 13))
    edges = np.repeat(np.linspace(0, 1, 7), 2)[1:-1] + np.tile([1e-9, -1e-9], 6)  # both ends of six equal parts
    draws = np.stack([edges, edges[::-1]], axis=1)
    window = training_window(draws, TrainSettings(image_size=8))
    found = [tuple((cut.start, cut.stop) for cut in window(i, label)) for i in range(12)]
    starts = np.repeat(range(6), 2).tolist()
    assert found == [((y, y + 8), (x, x + 8)) for y, x in zip(starts, starts[::-1], strict=True)]


def test_augmentation_gives_each_of_the_eight_orientations() -> None:
    image, label = torch.rand(1, 3, 4, 4).expand(8, -1, -1, -1), torch.rand(1, 4, 4).expand(8, -1, -1)
    draws = np.array([(0, 0, flip, turn) for flip in (0.49, 0.5) for turn in (0.24, 0.25, 0.5, 0.75)])
    images, labels = flipped(image, label, draws)
    expected = [torch.rot90(image[0], k, (1, 2)).flip(-1) for k in range(4)]
    expected += [torch.rot90(image[0], k, (1, 2)) for k in range(4)]
    assert all(torch.equal(*pair) for pair in zip(images, expected, strict=True))
    assert all(torch.equal(a, torch.rot90(label[0], k)) for k, a in enumerate(labels[4:]))
    classes = torch.arange(8)
    images, labels = flipped(image, classes, draws)
    assert torch.equal(images[3], expected[3])
    assert torch.equal(labels, classes), "a class has no orientation"


def test_focus_crop_contains_a_labelled_pixel() -> None:
    labels = np.full((64, 40, 40), -1)
    for i in range(64):
        labels[i, (7 * i) % 40, (11 * i) % 40] = 1
    draws = np.random.default_rng(0).random((64, 4))
    for crop, always in (("focus", True), ("random", False)):
        window = training_window(draws, TrainSettings(image_size=8, crop=crop))
        cuts = [label[window(i, label)] for i, label in enumerate(labels)]
        assert {cut.shape for cut in cuts} == {(8, 8)}
        assert all((cut == 1).any() for cut in cuts) == always


def test_resize_keeps_the_mean_and_antialiases() -> None:
    stripes = torch.arange(64).remainder(2).float().expand(1, 1, 64, 64)
    assert torch.allclose(fit_to(stripes, 16)[..., 1:-1], torch.tensor(0.5), atol=0.02)
    assert fit_to(stripes, 64) is stripes
