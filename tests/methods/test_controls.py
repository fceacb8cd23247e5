"""The controls of DEFLECT: a head on its descriptors alone, and descriptors beside the frozen GFM's features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from methods_page import BAND_SETS
from test_methods import adapted
from tiny_gfm import BANDS, VARIANTS, images, optimise, stir, tiny
from torch import Tensor

from deflect.errors import ModelError
from deflect.methods import adapt, parameter_report
from deflect.methods.deflect.model import DeflectedGFM
from deflect.methods.report import published_model, published_report
from deflect.settings import GFMS
from deflect.settings.training import TrainSettings
from deflect.training.model import build_head


def mixed(image: Tensor) -> Tensor:
    """The pixels of every patch of 8 x 8 in another order."""
    tiles = image.unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)
    tiles = tiles[..., torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    return F.fold(tiles.permute(0, 1, 4, 2, 3).flatten(1, 2).flatten(2), 32, 8, stride=8)


# ---------------------------------------------------------------------- spectral probe


def test_the_probes_features_are_deflects_standardised_descriptors() -> None:
    probe, deflected = adapted("spectral_probe"), adapted("deflect")
    assert isinstance(deflected, DeflectedGFM)
    image = images(probe.gfm)
    expected = (deflected.descriptor(image) - deflected.upe.mean) / deflected.upe.std
    assert torch.equal(probe.forward_features(image), expected)
    [found] = probe.forward_intermediates(image, [1])
    assert torch.equal(found, expected.transpose(1, 2).reshape(2, -1, 4, 4))


def test_the_probe_ignores_the_order_of_pixels_and_sees_the_infrared() -> None:
    probe = adapted("spectral_probe")
    image = images(probe.gfm)
    assert torch.equal(probe(mixed(image)), probe(image))
    other = image.clone()
    other[:, BANDS.channel("B08")] *= 0.5
    assert not torch.allclose(probe(other), probe(image), atol=1e-3)


def test_the_probe_does_not_run_the_gfm() -> None:
    probe = adapted("spectral_probe")
    for module in probe.gfm.modules():
        module.register_forward_pre_hook(lambda module, _: pytest.fail(f"{type(module).__name__} runs"))
    probe.forward_intermediates(images(probe.gfm), [0, 2])


def test_a_linear_head_gets_the_probes_descriptor_once_and_upernet_four_times() -> None:
    probe = adapt(tiny(depth=4), "spectral_probe", BANDS)
    settings = TrainSettings(upernet_channels=8)
    assert build_head("classification", probe, 5, settings).fc.weight.shape == (5, probe.descriptors.size)
    assert probe.taps("segmentation") == adapt(tiny(depth=4), "frozen", BANDS).taps("segmentation")


# ---------------------------------------------------------------------- late fusion


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_half_is_the_frozen_gfm_and_the_other_half_t_of_the_descriptors(variant: str) -> None:
    fusion, frozen = adapted("late_fusion", variant), adapted("frozen", variant)
    optimise(fusion, images(fusion.gfm))
    image = images(fusion.gfm, seed=8)
    dim, prefix = frozen.embed_dim, frozen.num_prefix_tokens
    spectral = fusion.transform(fusion.descriptors(fusion.spectral_channels(image)))
    found = fusion(image)
    assert torch.equal(found[..., :dim], frozen(image))
    assert torch.equal(found[:, prefix:, dim:], spectral)
    torch.testing.assert_close(found[:, :prefix, dim:], spectral.mean(1, keepdim=True).expand(-1, prefix, -1))
    maps = fusion.forward_intermediates(image, [0, 2])
    for ours, theirs in zip(maps, frozen.forward_intermediates(image, [0, 2]), strict=True):
        assert torch.equal(ours[:, :dim], theirs)
    whole = torch.cat([part[:, dim:] for part in maps], 1)
    assert torch.equal(whole.flatten(2).transpose(1, 2), spectral)


def test_the_spectral_half_ignores_the_order_of_pixels() -> None:
    fusion = adapted("late_fusion")
    stir(fusion)
    image = images(fusion.gfm)
    ours, shuffled = fusion(image), fusion(mixed(image))
    assert torch.equal(ours[..., 32:], shuffled[..., 32:])
    assert not torch.allclose(ours[..., :32], shuffled[..., :32], atol=1e-2)


@pytest.mark.parametrize("settings", [{}, {"bands": "rgb"}, {"features": "indices", "statistics": ["mean"]}])
@pytest.mark.parametrize("dataset", BAND_SETS)
@pytest.mark.parametrize("gfm", GFMS)
def test_it_tunes_as_many_parameters_as_deflect(gfm: str, dataset: str, settings: dict[str, Any]) -> None:
    """No other width is nearer: within half of what one hidden unit has."""
    wanted = published_report("deflect", settings, gfm, BAND_SETS[dataset]).tuned_params
    fusion = published_model("late_fusion", settings, gfm, BAND_SETS[dataset])
    first, _, last = fusion.transform
    unit = first.in_features + 1 + last.out_features
    assert abs(parameter_report(fusion).tuned_params - wanted) <= unit / 2


def test_a_given_width() -> None:
    assert adapted("late_fusion", hidden=3).transform[0].out_features == 3


def test_maps_that_cannot_share_the_width_are_an_error() -> None:
    fusion = adapted("late_fusion")
    with pytest.raises(ModelError, match="width 32 cannot be split over 3 maps"):
        fusion.forward_intermediates(images(fusion.gfm), [0, 1, 2])
