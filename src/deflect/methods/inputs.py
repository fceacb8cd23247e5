"""From reflectance to what the GFM was pretrained on, by band identity.

Inside a model the channels stand in canonical order: red, green, blue, then the extra bands by wavelength. Nothing
behind this module depends on the order in which a dataset stores its bands.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN as IMAGENET_MEAN
from timm.data.constants import IMAGENET_DEFAULT_STD as IMAGENET_STD
from torch import Tensor, nn

from deflect.bands import BandError, BandSet, BandStatistics
from deflect.methods.reflectance import check_means
from deflect.settings.methods import BandUse

#: Reflectance shown as white where nothing is known about a GFM's pretraining images: about that of Sentinel-2's
#: true-colour product, whose white is 0.3558.
DEFAULT_WHITE = 0.3


@dataclass(frozen=True)
class RGBInput:
    """What a GFM expects of its RGB input and which positions it has; the fields mean what they mean in ``GFMCard``."""

    name: str
    rgb_mean: tuple[float, ...] = IMAGENET_MEAN
    rgb_std: tuple[float, ...] = IMAGENET_STD
    reflectance_white: float = DEFAULT_WHITE
    kind: str = "learned"

    @classmethod
    def of(cls, gfm: nn.Module, card: Any | None = None) -> RGBInput:
        """From a GFM card, or else from timm's ``pretrained_cfg`` of the model, or else ImageNet's values."""
        card = card if card is not None else getattr(gfm, "card", None)
        if card is not None:
            return cls(**{field.name: getattr(card, field.name) for field in fields(cls)})
        cfg = getattr(gfm, "pretrained_cfg", None) or {}
        return cls(
            cfg.get("architecture") or type(gfm).__name__,
            tuple(cfg.get("mean") or IMAGENET_MEAN),
            tuple(cfg.get("std") or IMAGENET_STD),
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RGBInput:
        return cls(**values | {key: tuple(values[key]) for key in ("rgb_mean", "rgb_std")})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def canonical(bands: BandSet, use: BandUse = "all") -> BandSet:
    """Red, green, blue, then (for ``all``) the other bands by wavelength.

    Raises:
        BandError: a visible band is missing.
    """
    rgb = [bands[channel].name for channel in bands.rgb]
    extra = sorted((band for band in bands if band.name not in rgb), key=lambda band: (band.wavelength, band.name))
    return bands.subset(rgb + [band.name for band in extra] * (use == "all"))


class Channels(nn.Module):
    """Pick the ``inner`` bands from images that hold the ``outer`` bands, in the order of ``inner``."""

    picks: Tensor

    def __init__(self, outer: BandSet, inner: BandSet) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner
        picks = torch.tensor([outer.channel(name) for name in inner.names])
        self.register_buffer("picks", picks, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, len(inner), H, W)."""
        if image.ndim != 4 or image.shape[1] != len(self.outer):
            raise BandError(
                f"expected images (B, {len(self.outer)}, H, W) with bands {', '.join(self.outer.names)}, "
                f"found shape {tuple(image.shape)}"
            )
        return image.index_select(1, self.picks)


class Normalise(nn.Module):
    """Reflectance in canonical order -> the GFM's input.

    RGB: clip(reflectance / white, 0, 1), then the GFM's own mean and standard deviation. Extra bands: z-score with the
    statistics of the training split, never clipped.
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, inner: BandSet, rgb: RGBInput, outer: BandSet, statistics: BandStatistics | None) -> None:
        super().__init__()
        extra = [outer.channel(name) for name in inner.names[3:]]
        if extra and statistics is None:
            raise BandError(
                f"{', '.join(inner.names[3:])}: extra bands are z-scored, so pass statistics=BandStatistics(mean, std)"
            )
        if statistics is not None and len(statistics.mean) != len(outer):
            raise BandError(f"statistics of {len(statistics.mean)} bands for a set of {len(outer)}")
        if statistics is not None:
            check_means("statistics", outer.names, statistics.mean)
        white = rgb.reflectance_white
        mean = [m * white for m in rgb.rgb_mean] + [statistics.mean[c] for c in extra if statistics]
        std = torch.tensor([s * white for s in rgb.rgb_std] + [statistics.std[c] for c in extra if statistics])
        bounds = {
            "low": torch.tensor([0.0] * 3 + [-torch.inf] * len(extra)),
            "high": torch.tensor([white] * 3 + [torch.inf] * len(extra)),
            "scale": 1 / std,
            "shift": -torch.tensor(mean) / std,
        }
        for name, values in bounds.items():  # derived from the card, so not part of the state
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return torch.addcmul(self.shift, image.clamp(self.low, self.high), self.scale)
