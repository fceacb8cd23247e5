"""Untangled Patch Embedding, UPE: the spectral path's tokens (paper section 2.1).

Per pixel a vector of K features, spectral indices and reflectances; per patch S statistics of each over its pixels,
whatever their arrangement; standardised; and mapped to the GFM's width by T, the only part that learns. Each spectral
token gets the length of its spatial token. The prefix slots (class and registers) hold the mean of the patch tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from deflect.bands import BandError, BandSet
from deflect.errors import MethodError
from deflect.methods.deflect.deflection import length
from deflect.methods.reflectance import check_reflectance
from deflect.settings.methods import DeflectConfig
from deflect.spectral import available, count_nonfinite, patches, pixel_statistics, spectral_indices, tidy_
from deflect.spectral.indices import require

#: A feature whose standard deviation over the training split is below this is constant, and is only centred.
CONSTANT = 1e-6
#: Images that are described at once in calibration: their pixels and indices stay in a CPU's caches.
FEW = 2


class UntangledPatchEmbedding(nn.Module):
    """Reflectance -> spectral tokens x_A.

    Args:
        bands: the spectral path's bands, in the channel order of its input.
        dim: width D of the GFM.
        patch_size: pixels of a patch, rows and columns.
        num_prefix_tokens: class and register tokens in front of the patch tokens.
        config: settings of DEFLECT.
    """

    mean: Tensor
    std: Tensor
    nonfinite: Tensor

    def __init__(
        self, bands: BandSet, dim: int, patch_size: tuple[int, int], num_prefix_tokens: int, config: DeflectConfig
    ) -> None:
        super().__init__()
        self.bands, self.patch_size, self.config = bands, patch_size, config
        self.num_prefix_tokens = num_prefix_tokens
        self.indices = _index_names(bands, config)
        self.band_features = config.features != "indices"
        self.features = (*self.indices, *(bands.names if self.band_features else ()))
        size = len(self.features) * len(config.statistics)
        self.transform = _transform(size, config.hidden, dim)
        self.register_buffer("mean", torch.full((size,), torch.nan))
        self.register_buffer("std", torch.full((size,), torch.nan))
        self.register_buffer("nonfinite", torch.zeros((), dtype=torch.int64))
        self._ready = not config.standardise

    @torch.no_grad()
    def descriptor(self, image: Tensor) -> Tensor:
        """Statistics of every patch, before standardisation: (B, C, H, W) -> (B, L, K*S). Nothing here learns."""
        pixels = patches(image.float(), self.patch_size)
        return self._statistics(pixels, spectral_indices(pixels, self.bands, self.indices))

    def _statistics(self, pixels: Tensor, values: Tensor) -> Tensor:
        """Statistics of the pixels of patches (B, C, L, n) and of their indices; both are used as scratch space."""
        values = tidy_(values, self.indices)
        found = [pixel_statistics(values, self.config.statistics)] * bool(self.indices)
        if self.band_features:
            found.append(pixel_statistics(pixels, self.config.statistics))
        return torch.cat(found, dim=-1)

    def forward(self, image: Tensor, spatial: Tensor) -> Tensor:
        """Reflectance (B, C, H, W) and spatial tokens z_P(0) (B, P+L, D) -> spectral tokens x_A (B, P+L, D)."""
        self._require_calibration()
        descriptor = self.descriptor(image)
        patches_found = spatial.shape[1] - self.num_prefix_tokens
        if descriptor.shape[1] != patches_found:
            raise MethodError(
                "deflect: expected as many patches in the spectral path as in the spatial one "
                f"({patches_found}), found {descriptor.shape[1]} in images of {image.shape[-2]} x {image.shape[-1]}; "
                f"give sides that are multiples of the patch size {self.patch_size} (descriptors are never padded)"
            )
        if self.config.standardise:
            descriptor = (descriptor - self.mean) / self.std
        tokens = self.transform(descriptor.to(next(self.transform.parameters()).dtype)).to(spatial.dtype)
        prefix = tokens.mean(dim=1, keepdim=True).expand(-1, spatial.shape[1] - tokens.shape[1], -1)
        tokens = torch.cat([prefix, tokens], dim=1)
        return (tokens * (length(spatial) / length(tokens))).to(spatial.dtype) if self.config.norm_matching else tokens

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Mean and standard deviation of every descriptor entry over training images (B, C, H, W).

        Patches with a pixel that is 0 in every band, which is how stores keep "no measurement", are left out.
        """
        total = torch.zeros(2, len(self.mean), dtype=torch.float64, device=self.mean.device)
        tokens = nonfinite = 0
        for image in batches:
            check_reflectance("calibrate", image, self.bands)
            for part in image.float().split(FEW):
                pixels = patches(part, self.patch_size)
                values = spectral_indices(pixels, self.bands, self.indices)
                nonfinite += count_nonfinite(values)
                measured = pixels.ne(0).any(1).all(-1).flatten()
                rows = self._statistics(pixels, values).flatten(0, 1)[measured].double()
                total += torch.stack([rows.sum(0), rows.square().sum(0)])
                tokens += len(rows)
        if not tokens:
            raise MethodError(
                "calibrate: no training image was given, or none with a patch of measured pixels (not 0 in every band)"
            )
        mean, square = total / tokens
        std = (square - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std < CONSTANT, 1.0, std))
        self.nonfinite.fill_(nonfinite)
        self._look()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._look()

    @property
    def calibrated(self) -> bool:
        return bool(torch.isfinite(self.std).all())

    def _look(self) -> None:
        """Note whether the buffers are filled, for forward passes: on a GPU looking waits, and an export cannot."""
        self._ready = not self.config.standardise or (not self.std.is_meta and self.calibrated)

    def _require_calibration(self) -> None:
        if not self._ready:
            raise MethodError(
                "deflect: descriptors are not standardised yet; call calibrate(batches of training images), "
                "load a saved adapter, or set standardise: false"
            )


def _index_names(bands: BandSet, config: DeflectConfig) -> tuple[str, ...]:
    if config.features == "bands":
        return ()
    names = available(bands) if config.indices == "all" else config.indices
    require(bands, names)
    if not names:
        raise BandError(f"{bands.sensor}: no spectral index can be computed from {', '.join(bands.names)}")
    return names


def _transform(size: int, hidden: int | None, dim: int) -> nn.Module:
    if hidden is None:
        return nn.Linear(size, dim)
    return nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, dim))
