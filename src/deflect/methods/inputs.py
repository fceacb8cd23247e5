"""From reflectance to the input that the GFM was pretrained on, by band identity.

Inside a model, channels are in canonical order: red, green, blue, then the extra bands by wavelength.
Results do not depend on the order in which a dataset stores its bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from deflect.bands import BandSet, BandStatistics
from deflect.errors import ConfigError, ModelError
from deflect.gfms.vit import card_of
from deflect.settings.methods import BandUse

#: Reflectance of white for a GFM without card; Sentinel-2's true-colour product has 0.3558.
DEFAULT_WHITE = 0.3
#: Share of a band's pixels that may be below -0.05: noise gives a few, z-scores give half.
NEGATIVE_SHARE = 0.25


@dataclass(frozen=True)
class RGBInput:
    """What a GFM expects of its RGB input, and its positions; the fields are those of ``GFMCard``.

    Without ``reflectance_white`` the mean and standard deviation are those of reflectance, which is not clipped.
    """

    name: str
    rgb_mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN
    rgb_std: tuple[float, ...] = IMAGENET_DEFAULT_STD
    reflectance_white: float | None = DEFAULT_WHITE
    positions: str = "learned"

    @classmethod
    def of(cls, gfm: nn.Module) -> RGBInput:
        """From the GFM's card, or else timm's ``pretrained_cfg``, or else ImageNet's values."""
        if getattr(gfm, "card", None) is not None:
            card = card_of(gfm)
            return cls(**{field.name: getattr(card, field.name) for field in fields(cls)})
        cfg = getattr(gfm, "pretrained_cfg", None) or {}
        return cls(
            cfg.get("architecture") or type(gfm).__name__,
            tuple(cfg.get("mean") or IMAGENET_DEFAULT_MEAN),
            tuple(cfg.get("std") or IMAGENET_DEFAULT_STD),
        )


def canonical(bands: BandSet, use: BandUse = "all") -> BandSet:
    """Red, green, blue, then (for ``all``) the other bands by wavelength."""
    rgb = [bands[channel].name for channel in bands.rgb]
    extra = sorted((band for band in bands if band.name not in rgb), key=lambda band: (band.wavelength, band.name))
    return bands.subset(rgb + [band.name for band in extra] * (use == "all"))


class Channels(nn.Module):
    """Select the ``inner`` bands, in their order, from images of the ``outer`` bands."""

    picks: Tensor

    def __init__(self, outer: BandSet, inner: BandSet) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner
        picks = torch.tensor([outer.channel(name) for name in inner.names])
        self.register_buffer("picks", picks, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, len(inner), H, W)."""
        if image.ndim != 4 or image.shape[1] != len(self.outer):
            raise ConfigError(
                f"expected images (B, {len(self.outer)}, H, W) with bands {', '.join(self.outer.names)}, "
                f"found shape {tuple(image.shape)}"
            )
        return image.index_select(1, self.picks)


class Normalise(nn.Module):
    """Reflectance (B, C, H, W) in canonical order -> the GFM's input.

    RGB: as ``deflect.gfms.scale_rgb``. Extra bands: z-score with the statistics of the training split, not clipped.
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, inner: BandSet, rgb: RGBInput, outer: BandSet, statistics: BandStatistics | None) -> None:
        super().__init__()
        extra = [outer.channel(name) for name in inner.names[3:]]
        if extra and statistics is None:
            raise ConfigError(
                f"{', '.join(inner.names[3:])}: extra bands are z-scored, so pass statistics=BandStatistics(mean, std)"
            )
        if statistics is not None and len(statistics.mean) != len(outer):
            raise ConfigError(f"statistics of {len(statistics.mean)} bands for a set of {len(outer)}")
        if statistics is not None:
            check_means("statistics", outer.names, statistics.mean)
        white = rgb.reflectance_white or 1.0
        dark, bright = (0.0, white) if rgb.reflectance_white else (-torch.inf, torch.inf)
        mean = [m * white for m in rgb.rgb_mean] + [statistics.mean[c] for c in extra if statistics]
        std = torch.tensor([s * white for s in rgb.rgb_std] + [statistics.std[c] for c in extra if statistics])
        bounds = {
            "low": torch.tensor([dark] * 3 + [-torch.inf] * len(extra)),
            "high": torch.tensor([bright] * 3 + [torch.inf] * len(extra)),
            "scale": 1 / std,
            "shift": -torch.tensor(mean) / std,
        }
        for name, values in bounds.items():  # not part of the state, since the card has them
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return torch.addcmul(self.shift, image.clamp(self.low, self.high), self.scale)


@torch.no_grad()
def check_reflectance(what: str, image: Tensor, bands: BandSet) -> None:
    """Raise ModelError for images (B, C, H, W) of integers, digital numbers, z-scores or gaps.

    These would train without an error. The message begins with ``what`` and names the band.
    """
    if not image.is_floating_point():
        raise ModelError(f"{what}: expected reflectance in floating point, about 0 to 1, found {image.dtype}")
    check_means(what, bands.names, image.mean(dim=(0, 2, 3), dtype=torch.float32).tolist())
    shares = (image < -0.05).float().mean(dim=(0, 2, 3)).tolist()
    for name, share in zip(bands.names, shares, strict=True):
        if share > NEGATIVE_SHARE:
            raise ModelError(
                f"{what}: {share:.0%} of band {name} is negative, as in z-scores; expected reflectance, about 0 to 1: "
                "the model normalises by itself"
            )


def check_means(what: str, names: Sequence[str], means: Sequence[float]) -> None:
    """Raise ModelError for a mean that no reflectance has."""
    for name, mean in zip(names, means, strict=True):
        if not -0.5 < mean < 2:  # false for NaN too
            raise ModelError(
                f"{what}: band {name} has mean {mean:.4g}; expected reflectance, about 0 to 1, without gaps. "
                "Divide digital numbers by the product's scale (Sentinel-2: 10000)"
            )
