"""Simulated pixels: no kind of feature solves a dataset alone, materials as documented, land resembles real land."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from band_summary import summarise
from paths import REAL, needs_real
from real_imagery import bigearthnet

from deflect.bands import SENTINEL2, bandset
from deflect.data.simulate import brick_kiln, chance, forestnet, simulate_rgb, so2sat
from deflect.data.simulate.canvas import coarse
from deflect.data.simulate.spectra import materials, measured, response

GEOBENCH = {"so2sat": so2sat, "brick_kiln": brick_kiln, "forestnet": forestnet}


def nearest_class(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy of the nearest class mean in the metric of the pooled covariance within classes."""
    classes = np.unique(labels)
    means = np.stack([train[labels == k].mean(0) for k in classes])
    within = np.cov((train - means[np.searchsorted(classes, labels)]).T)
    metric = np.linalg.inv(within + 0.02 * np.diag(np.diag(within)))
    away = test[:, None] - means
    return float((classes[np.einsum("nkf,fg,nkg->nk", away, metric, away).argmin(1)] == truth).mean())


def described(dataset: str, split: str, count: int, pixels: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of every image, of three kinds, and its label."""
    module = GEOBENCH[dataset]
    samples = [module.sample(chance(0, dataset, split, i), i, i, pixels) for i in range(count)]
    optical = slice(8, 18) if dataset == "so2sat" else slice(0, len(module.BANDS))
    data = np.log(np.stack([sample.data[optical].astype(float) for sample in samples]).clip(1e-3))
    rgb = data[:, list(module.BANDS.rgb)].mean(1)
    y, x = np.gradient(rgb, axis=(1, 2))
    texture = np.stack([(x * x - y * y).mean((1, 2)), (x * y).mean((1, 2)), (x * x + y * y).mean((1, 2))], axis=1)
    means = data.mean((2, 3))
    features = {"rgb": means[:, list(module.BANDS.rgb)], "bands": means, "texture": texture}
    return features | {"all": np.concatenate([means, texture], axis=1)}, np.array([sample.label for sample in samples])


@pytest.mark.parametrize(("dataset", "pixels"), [("so2sat", 32), ("brick_kiln", 48), ("forestnet", 48)])
def test_no_kind_of_feature_solves_a_dataset_alone(dataset: str, pixels: int) -> None:
    (train, labels), (test, truth) = (described(dataset, s, n, pixels) for s, n in (("train", 408), ("test", 204)))
    score = {kind: nearest_class(train[kind], labels, test[kind], truth) for kind in train}
    assert min(score["bands"], score["texture"]) > 1.15 / GEOBENCH[dataset].CLASSES, "both are above chance"
    assert max(score["rgb"], score["bands"], score["texture"]) + 0.03 < score["all"] < 0.95, "all together say most"


def test_families_of_materials_agree_in_green_and_differ_in_the_infrared() -> None:
    bands = bandset("sentinel2", ["B03", "B8A", "B11"])
    assert np.allclose(response(bands).sum(axis=0), 1)
    means = {name: rows.mean(axis=0) for name, rows in materials(bands).items()}
    moist, dry = means["canopy_moist"], means["canopy_dry"]
    assert abs(moist[0] / dry[0] - 1) < 0.1
    assert dry[2] > 1.8 * moist[2]
    assert means["soil_wet"][2] < 0.65 * means["soil"][2]
    assert means["water"][1] < 0.03 < means["sargassum"][1]
    assert all(np.isfinite(rows).all() and len(rows) for rows in measured()[1].values())


def test_rgb_scenes_are_stable_reflectance(tmp_path: Path) -> None:
    simulate_rgb(tmp_path / "a.npy", 10, 48, seed=3)
    simulate_rgb(tmp_path / "b.npy", 6, 48, seed=3)
    images = np.load(tmp_path / "a.npy")
    assert (images.shape, images.dtype) == ((10, 3, 48, 48), np.float32)
    assert np.array_equal(images[:6], np.load(tmp_path / "b.npy"))
    assert images.min() >= 0
    assert 0.02 < images.mean() < 0.3
    assert images[0, 0].mean() != images[1, 0].mean()


# --- comparison with real imagery ------------------------------------------------------------------------------------


def test_summary_of_a_known_stack() -> None:
    bands = SENTINEL2.subset(["B04", "B08"])
    images = np.zeros((2, 2, 4, 4))
    images[:, 0], images[:, 1] = 0.1, 0.3
    images[1] *= 2
    images[0, :, 0, 0] = np.nan
    summary = summarise(images, bands)
    assert np.allclose(summary.mean, np.array([0.1, 0.3]) * (15 + 32) / 31)
    assert np.allclose(summary.correlation, 1)
    assert list(summary.indices) == ["NDVI"]
    assert np.allclose(summary.indices["NDVI"], 0.5)


def test_coarse_means_blocks_and_the_remainder() -> None:
    band = np.arange(25, dtype=np.float32).reshape(5, 5)
    assert coarse(band, 2, repeat=False).shape == (3, 3)
    assert coarse(band, 2, repeat=False)[0, 0] == band[:2, :2].mean()
    assert coarse(band, 2, repeat=True).shape == (5, 5)
    assert coarse(band, 2, repeat=True)[4, 4] == band[4, 4]


@needs_real
def test_simulated_land_resembles_real_land() -> None:
    labels = json.loads((REAL / "bigearthnet_s2/labels.json").read_text())
    images, bands = bigearthnet()
    names = sorted(path.stem for path in REAL.glob("bigearthnet_s2/*.tif"))
    land = ["Marine waters" not in str(labels[name]) for name in names]
    channels = [bands.channel(name) for name in brick_kiln.BANDS.names]
    real = summarise(images[land][:, channels], brick_kiln.BANDS)
    scenes = [brick_kiln.sample(chance(0, "brick_kiln", "train", i), i, i, 64).data[:10] / 1e4 for i in range(60)]
    simulated = summarise(np.stack(scenes), brick_kiln.BANDS)
    ratio = simulated.mean / real.mean
    assert (ratio > 0.5).all()
    assert (ratio < 2.2).all()
    assert np.abs(simulated.correlation - real.correlation).mean() < 0.25
    for name, real_range in real.indices.items():
        low, high = simulated.indices[name][[0, -1]]
        assert low < real_range[2] < high, f"{name}: the real median lies inside the simulated range"
