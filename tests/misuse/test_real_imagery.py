"""Spectral features and adapted models on real Sentinel-2 images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from paths import REAL, needs_real
from real_imagery import bigearthnet, eurosat
from timm.models.vision_transformer import VisionTransformer

import deflect
from deflect.data.readers import read
from deflect.spectral import available, spectral_indices

pytestmark = needs_real


@pytest.fixture(scope="module", params=[eurosat, bigearthnet], ids=["eurosat", "bigearthnet"])
def scenes(request):
    images, bands = request.param()
    return torch.from_numpy(images)[..., :64, :64], bands


def test_normalised_differences_stay_in_their_range(scenes):
    images, bands = scenes
    names = [name for name in ("NDVI", "NDWI", "MNDWI", "NBR", "NDMI") if name in available(bands)]
    assert len(names) == 5
    values = spectral_indices(images, bands, names)
    finite = values[torch.isfinite(values)]
    assert len(finite) > 0.99 * values.numel()
    assert finite.abs().max() <= 1


def test_forest_is_greener_than_the_sea():
    """A wrong band order would reverse it."""
    images, bands = eurosat()
    classes = np.array([path.parent.name for path in sorted(REAL.glob("eurosat_ms/*/*.tif"))])
    ndvi = spectral_indices(torch.from_numpy(images), bands, ["NDVI"]).mean(dim=(1, 2, 3)).numpy()
    assert ndvi[classes == "Forest"].mean() > 0.4
    assert ndvi[classes == "SeaLake"].mean() < 0.1


@pytest.mark.parametrize("method", ["deflect", "lora"])
def test_features_of_real_images_are_finite(scenes, method):
    images, bands = scenes
    pixels = images.double().transpose(0, 1).flatten(1)
    statistics = deflect.BandStatistics(tuple(pixels.mean(1).tolist()), tuple(pixels.std(1).tolist()))
    vit = VisionTransformer(img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    model = deflect.adapt(vit, method, bands=bands, statistics=statistics)
    model.calibrate([images])
    features = model.forward_features(images)
    assert features.shape == (len(images), 65, 32)
    assert torch.isfinite(features).all()


def test_brick_kiln_bands_are_corrected():
    """The published names are wrong. With the true bands, NDVI is that of vegetated land in Bangladesh."""
    samples = read("brick_kiln", REAL / "geobench_m_brick_kiln_prerelease", "train")
    image = torch.stack([torch.as_tensor(samples[i]["image"]) for i in range(len(samples))]) / 10_000
    ndvi = spectral_indices(image, samples.sheet.bands, ["NDVI"])
    assert 0.1 < ndvi.mean() < 0.8
