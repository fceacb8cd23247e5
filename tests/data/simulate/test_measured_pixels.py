"""Statistics exclude nodata; training windows are drawn uniformly around labelled pixels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from own_data import BANDS, image, write_folders, write_tiff

from deflect.bands import bandset
from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.errors import ModelError
from deflect.methods.deflect.upe import UntangledPatchEmbedding
from deflect.settings.methods import DeflectConfig
from deflect.settings.training import TrainSettings
from deflect.training.batches import training_window


def half_images(folder: Path, **card: object) -> np.ndarray:
    """A dataset whose images are 0 in their upper half; returns the train pixels (N, C, H, W) in reflectance."""
    write_folders(folder, **card)
    for path in folder.glob("*/*.tif"):
        pixels = image(int(path.stem.split("_")[1]) + 50 * (path.parent.name == "forest"))
        pixels[:, :8] = 0
        write_tiff(path, pixels)
    train = read("own", folder, "train")
    return np.stack([train.load(index)[0] for index in range(len(train))]) * 1e-4


def test_statistics_are_of_measured_pixels(tmp_path: Path) -> None:
    pixels = half_images(tmp_path / "raw", nodata=0)[:, :, 8:]
    card = prepare("own", tmp_path / "raw", tmp_path / "store")
    np.testing.assert_allclose(card.statistics.mean, pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(card.statistics.std, pixels.std((0, 2, 3)), rtol=1e-6)


def test_zero_pixels_without_nodata_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    n = len(half_images(tmp_path / "raw"))
    prepare("own", tmp_path / "raw", tmp_path / "store")
    assert f"{n * 8 * 16} pixels of train are 0 in every band" in caplog.text


def test_calibration_excludes_patches_with_nodata() -> None:
    images = torch.rand(3, 4, 16, 16) * 0.3 + 0.01
    bordered = torch.zeros(3, 4, 16, 24)
    bordered[..., :17] = torch.cat([images, images[..., :1]], -1)  # one whole column of the third patch, the rest is 0
    found = []
    for batch in (images, bordered):
        upe = UntangledPatchEmbedding(bandset("sentinel2", BANDS), 12, (8, 8), 1, DeflectConfig())
        upe.calibrate([batch])
        found.append(upe)
    assert torch.equal(found[0].mean, found[1].mean)
    assert torch.equal(found[0].std, found[1].std)
    with pytest.raises(ModelError, match="none with a patch of measured pixels"):
        found[0].calibrate([torch.zeros(1, 4, 16, 16)])


@pytest.mark.parametrize("at", [0, 5, 16, 39])
def test_windows_are_uniform_among_those_with_the_labelled_pixel(at: int) -> None:
    """40 x 40 pixels, windows of 8: those that hold row ``at`` begin at rows at-7 to at, within 0 to 32."""
    label = np.full((40, 40), -1)
    label[at, 20] = label[at, 21] = 0
    draws = np.random.default_rng(0).random((4000, 4))
    window = training_window(draws, TrainSettings(image_size=8, crop="focus"))
    begin = np.array([[cut.start for cut in window(place, label)] for place in range(len(draws))])
    rows = range(max(0, at - 7), min(32, at) + 1)
    share = np.bincount(begin[:, 0], minlength=33) / len(draws)
    np.testing.assert_allclose(share[rows.start : rows.stop], 1 / len(rows), atol=0.02)
    assert share[rows.start : rows.stop].sum() == pytest.approx(1)
    columns = np.bincount(begin[:, 1], minlength=33) / len(draws)
    np.testing.assert_allclose(columns[13:22], [1 / 16, *[1 / 8] * 7, 1 / 16], atol=0.02)  # of two pixels side by side


def test_two_prepare_at_once_both_succeed(tmp_path: Path) -> None:
    write_folders(tmp_path / "raw", per_class=40)
    code = "import sys; from deflect.data.prepare import prepare; prepare('own', sys.argv[1], sys.argv[2])"
    command = [sys.executable, "-c", code, str(tmp_path / "raw"), str(tmp_path / "store")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [each.communicate()[1] for each in both if each.wait()] == []
