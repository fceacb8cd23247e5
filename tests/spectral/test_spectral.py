"""Spectral indices against Spyndex, and patch statistics, which do not depend on the order of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from paths import needs_real
from real_imagery import bigearthnet

from deflect.bands import HLS_S30, LANDSAT8, SENTINEL2, BandSet, bandset
from deflect.errors import ConfigError
from deflect.settings import STATISTICS
from deflect.spectral import INDICES, available, patches, pixel_statistics, spectral_indices, tidy_

HLS = HLS_S30.subset(["B02", "B03", "B04", "B8A", "B11", "B12"])


def reflectance(bands: BandSet, *size: int) -> torch.Tensor:
    return torch.rand(2, len(bands), *size, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.01


@pytest.mark.parametrize("bands", [SENTINEL2, LANDSAT8, HLS], ids=lambda bands: bands.sensor)
def test_every_index_equals_spyndex(bands: BandSet) -> None:
    import spyndex

    image = reflectance(bands, 3, 4).double()
    params = {"L": 0.5}  # SAVI's soil factor
    for role in ("B", "G", "R", "RE1", "RE2", "N", "S1", "S2"):
        if bands.has_role(role):
            channel = bands.channel_of_role(role)
            params |= {role: image[:, channel].numpy(), f"lambda{role}": bands[channel].wavelength}
    names = available(bands)
    ours = spectral_indices(image, bands, names)
    for k, name in enumerate(names):
        theirs = spyndex.computeIndex(INDICES[name].spyndex, params)
        np.testing.assert_allclose(ours[:, k].numpy(), theirs, rtol=1e-12, err_msg=name)


def test_available_follows_the_bands() -> None:
    assert available(SENTINEL2) == tuple(INDICES)
    assert set(INDICES) - set(available(HLS)) == {"NDREI", "NDCI", "FDI"}  # no red edge; B8A is used for N
    assert available(SENTINEL2.subset(["B04", "B03", "B02"])) == ("NDTI",)
    assert available(SENTINEL2.subset(["B02"])) == ()


def test_error_of_an_unavailable_index_names_the_missing_band() -> None:
    rgb = bandset("sentinel2", ["B04", "B03", "B02"])
    with pytest.raises(ConfigError, match="NBR needs a band with role N, S2"):
        spectral_indices(reflectance(rgb, 2, 2), rgb, ["NDTI", "NBR"])
    with pytest.raises(ConfigError, match="unknown spectral index 'NDIV'"):
        spectral_indices(reflectance(rgb, 2, 2), rgb, ["NDIV"])


def test_bands_of_an_index_are_found_by_identity() -> None:
    bands, turned = bandset("sentinel2", ["B04", "B08"]), bandset("sentinel2", ["B08", "B04"])
    image = reflectance(bands, 2, 2)
    assert torch.equal(spectral_indices(image, bands, ["NDVI"]), spectral_indices(image.flip(1), turned, ["NDVI"]))


def test_nonfinite_values_become_zero_and_others_are_clamped() -> None:
    bands = bandset("sentinel2", ["B04", "B08"])
    red, nir = torch.tensor([0.0, 0.1, 0.1, -0.1999]), torch.tensor([0.0, -0.1, 0.3, 0.2])
    values = spectral_indices(torch.stack([red, nir])[None], bands, ["NDVI"])  # 0/0, x/0, fine, near 0
    assert (~values.isfinite()).sum() == 2
    torch.testing.assert_close(tidy_(values, ["NDVI"]).flatten(), torch.tensor([0.0, 0.0, 0.5, 1.0]))


def test_statistics_equal_numpy() -> None:
    pixels = torch.randn(2, 3, 4, 49, generator=torch.Generator().manual_seed(0))
    rows = pixels.double().numpy()
    found = pixel_statistics(pixels.clone()).reshape(2, 4, 3, len(STATISTICS)).numpy()
    wanted = [rows.mean(-1), rows.std(-1), rows.min(-1), rows.max(-1)]
    wanted += [np.percentile(rows, q, axis=-1) for q in (10, 25, 75, 90)]
    np.testing.assert_allclose(found, np.stack(wanted, -1).transpose(0, 2, 1, 3), atol=1e-6)
    few = pixel_statistics(pixels.clone(), ("q90", "mean"))
    np.testing.assert_allclose(few.reshape(2, 4, 3, 2).numpy(), found[..., [7, 0]], atol=1e-7)


def test_std_of_a_constant_patch_is_zero() -> None:
    assert pixel_statistics(torch.full((1, 1, 1, 256), 0.3), ("std",)).item() < 1e-7


def test_statistics_do_not_depend_on_the_order_of_pixels() -> None:
    image = reflectance(HLS, 16, 24)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    mixed = patches(image, (8, 8))[..., order]
    assert torch.equal(pixel_statistics(mixed), pixel_statistics(patches(image, (8, 8))))
    assert torch.equal(image, reflectance(HLS, 16, 24)), "the image itself must not be sorted"


def test_patches_have_the_order_of_a_patch_embedding() -> None:
    image = reflectance(HLS, 20, 32)[:, :1]  # the last 4 rows fill no patch
    conv = torch.nn.Conv2d(1, 1, 8, stride=8, bias=False)
    torch.nn.init.constant_(conv.weight, 1 / 64)
    torch.testing.assert_close(pixel_statistics(patches(image, (8, 8)), ("mean",)).squeeze(-1), conv(image).flatten(1))


@needs_real
def test_indices_of_real_sentinel2_are_plausible() -> None:
    images, bands = bigearthnet()
    image = torch.from_numpy(images[:5])
    values = spectral_indices(image, bands)
    assert (~values.isfinite()).sum() < 1e-4 * values.numel()
    for k, name in enumerate(INDICES):
        assert (values[:, k].abs() > INDICES[name].limit).float().mean() < 0.01, name
    ndvi, ndmi, ndbi = (values[:, list(INDICES).index(name)] for name in ("NDVI", "NDMI", "NDBI"))
    assert 0.2 < ndvi.median() < 0.95  # European land in its growing season
    torch.testing.assert_close(ndmi, -ndbi, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:.torch.jit:FutureWarning")
def test_traced_statistics_hold_for_other_images() -> None:
    image, other = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    recorded = torch.jit.trace(lambda x: pixel_statistics(patches(x, (4, 4))), image, check_trace=False)
    torch.testing.assert_close(recorded(other), pixel_statistics(patches(other, (4, 4))))
