"""Patch descriptors: S statistics of K features (spectral indices and reflectances) over a patch's pixels, z-scored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from deflect.bands import BandSet
from deflect.errors import ConfigError, ModelError
from deflect.methods.inputs import check_reflectance
from deflect.settings.methods import DescriptorConfig
from deflect.spectral import available, patches, pixel_statistics, spectral_indices, tidy_
from deflect.spectral.indices import require

#: A feature with a smaller standard deviation over the training split is constant, and is only centred.
CONSTANT = 1e-6
#: Images per step of the calibration; few, so that their pixels and indices fit in the caches of a CPU.
FEW = 2


class Descriptors(nn.Module):
    """Reflectance of ``bands`` -> standardised descriptors of patches."""

    mean: Tensor
    std: Tensor
    nonfinite: Tensor

    def __init__(self, bands: BandSet, patch_size: tuple[int, int], config: DescriptorConfig) -> None:
        super().__init__()
        self.bands, self.patch_size = bands, patch_size
        self.indices = _index_names(bands, config)
        self.reflectances, self.statistics = config.features != "indices", config.statistics
        self.features = (*self.indices, *(bands.names if self.reflectances else ()))
        self.standardise = config.standardise
        self.size = len(self.features) * len(self.statistics)
        self.register_buffer("mean", torch.full((self.size,), torch.nan))
        self.register_buffer("std", torch.full((self.size,), torch.nan))
        self.register_buffer("nonfinite", torch.zeros((), dtype=torch.int64))
        self._ready = not self.standardise

    def forward(self, image: Tensor) -> Tensor:
        """Reflectance (B, C, H, W) -> (B, L, K*S)."""
        if not self._ready:
            raise ModelError(
                "descriptors are not standardised yet; call calibrate(batches of training images), "
                "load a saved adapter, or set standardise: false"
            )
        if any(side % patch for side, patch in zip(image.shape[-2:], self.patch_size, strict=True)):
            raise ModelError(
                f"expected sides that are multiples of the patch size {self.patch_size}, found images of "
                f"{image.shape[-2]} x {image.shape[-1]}; descriptors are never padded"
            )
        descriptor = self.descriptor(image)
        return (descriptor - self.mean) / self.std if self.standardise else descriptor

    @torch.no_grad()
    def descriptor(self, image: Tensor) -> Tensor:
        """Statistics of every patch, before standardisation: (B, C, H, W) -> (B, L, K*S)."""
        pixels = patches(image.float(), self.patch_size)
        return self._statistics(pixels, spectral_indices(pixels, self.bands, self.indices))

    def _statistics(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Statistics of the pixels of patches (B, C, L, n) and of their indices; both are overwritten."""
        values = tidy_(values, self.indices)
        found = [pixel_statistics(values, self.statistics)] * bool(self.indices)
        if self.reflectances:
            found.append(pixel_statistics(pixels, self.statistics))
        return torch.cat(found, dim=-1)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Mean and standard deviation of every descriptor entry over training images (B, C, H, W).

        Patches with a pixel that is 0 in every band, which means nodata, are excluded.
        """
        total = torch.zeros(2, len(self.mean), dtype=torch.float64, device=self.mean.device)
        tokens = nonfinite = 0
        for image in batches:
            check_reflectance("calibrate", image, self.bands)
            for part in image.float().split(FEW):
                pixels = patches(part, self.patch_size)
                values = spectral_indices(pixels, self.bands, self.indices)
                nonfinite += int((~values.isfinite()).sum())
                measured = pixels.ne(0).any(1).all(-1).flatten()
                rows = self._statistics(pixels, values).flatten(0, 1)[measured].double()
                total += torch.stack([rows.sum(0), rows.square().sum(0)])
                tokens += len(rows)
        if not tokens:
            raise ModelError(
                "calibrate: no training image was given, or none with a patch of measured pixels (not 0 in every band)"
            )
        mean, square = total / tokens
        std = (square - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < CONSTANT, 1.0, std))
        self.nonfinite.fill_(nonfinite)
        self._update_ready()

    @property
    def calibrated(self) -> bool:
        return bool(torch.isfinite(self.std).all())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._update_ready()

    def _update_ready(self) -> None:
        """Set the flag that forward passes read; reading the buffers synchronises a GPU and cannot be exported."""
        self._ready = not self.standardise or (not self.std.is_meta and self.calibrated)


def _index_names(bands: BandSet, config: DescriptorConfig) -> tuple[str, ...]:
    """The spectral indices that ``config`` selects."""
    if config.features == "bands":
        return ()
    names = available(bands) if config.indices == "all" else config.indices
    if not names:
        raise ConfigError(f"{bands.sensor}: no spectral index can be computed from {', '.join(bands.names)}")
    require(bands, names)
    return names


def bottleneck(size: int, hidden: int | None, dim: int) -> nn.Module:
    """A map from descriptors to the GFM's width; one linear layer without ``hidden``."""
    if hidden is None:
        return nn.Linear(size, dim)
    return nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, dim))


def add_prefix(tokens: Tensor, number: int) -> Tensor:
    """Patch tokens (B, L, D) with their mean in the places of class and register tokens: (B, P+L, D)."""
    return torch.cat([tokens.mean(dim=1, keepdim=True).expand(-1, number, -1), tokens], dim=1)
