"""Spectral features and adapted models on real Sentinel-2 images."""

from __future__ import annotations

import pytest
import torch
from real_imagery import REAL, bigearthnet, eurosat, needs_real
from timm.models.vision_transformer import VisionTransformer

import deflect
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
    """The oldest fact of the field: a wrong band order would turn it round."""
    images, bands = eurosat()
    kinds = [path.parent.name for path in sorted(REAL.glob("eurosat_ms/*/*.tif"))]
    ndvi = spectral_indices(torch.from_numpy(images), bands, ["NDVI"]).mean(dim=(1, 2, 3))
    by_kind = {kind: ndvi[[k == kind for k in kinds]].mean().item() for kind in set(kinds)}
    assert by_kind["Forest"] > 0.4
    assert by_kind["SeaLake"] < 0.1


@pytest.mark.parametrize("method", ["deflect", "lora"])
def test_adapted_vit_reads_real_images(scenes, method):
    images, bands = scenes
    pixels = images.double().transpose(0, 1).flatten(1)
    statistics = deflect.BandStatistics(tuple(pixels.mean(1).tolist()), tuple(pixels.std(1).tolist()))
    vit = VisionTransformer(img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0)
    model = deflect.adapt(vit, method, bands=bands, statistics=statistics)
    model.calibrate([images])
    features = model.forward_features(images)
    assert features.shape == (len(images), 65, 32)
    assert torch.isfinite(features).all()


def test_brick_kiln_pixels_reach_the_model_as_the_bands_they_really_are():
    """The published names are wrong; NDVI computed by identity must be that of vegetated land in Bangladesh."""
    from deflect.data.readers import read

    folder = REAL / "geobench_m_brick_kiln_prerelease"
    samples = read("brick_kiln", folder, "train")
    image = torch.stack([torch.as_tensor(samples[i]["image"]) for i in range(len(samples))]) / 10_000
    ndvi = spectral_indices(image, samples.sheet.bands, ["NDVI"])
    assert 0.1 < ndvi.mean() < 0.8
