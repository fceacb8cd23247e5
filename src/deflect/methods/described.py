"""What methods that describe patches by their spectra have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from deflect.errors import ModelError
from deflect.gfms.vit import ViT
from deflect.methods.base import AdaptedGFM
from deflect.methods.descriptors import Descriptors
from deflect.methods.inputs import Channels, canonical
from deflect.settings.methods import DescriptorConfig


class DescribedGFM(AdaptedGFM):
    """A GFM whose method describes the patches of the bands that ``config.bands`` selects."""

    config: DescriptorConfig
    descriptors: Descriptors

    def __init__(self, gfm: ViT, *args: Any) -> None:
        super().__init__(gfm, *args)
        self.spectral_channels = Channels(self.bands, canonical(self.bands, self.config.bands))

    def descriptor(self, image: Tensor) -> Tensor:
        """Patch descriptors (B, L, K*S) before standardisation."""
        return self.descriptors.descriptor(self.spectral_channels(image))

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Compute the mean and standard deviation of the patch descriptors from training images (B, C, H, W)."""
        self.descriptors.calibrate(self.spectral_channels(self._batch(image)) for image in batches)

    def _batch(self, image: Any) -> Tensor:
        if not isinstance(image, Tensor):
            raise ModelError(
                f"calibrate: expected batches of images (B, C, H, W), found {type(image).__name__}; if a loader gives "
                "more, pass the images alone: calibrate(images for images, _ in loader)"
            )
        return image.to(self.descriptors.mean.device)

    def describe(self) -> dict[str, Any]:
        found = self.descriptors
        card: dict[str, Any] = {name: list(getattr(found, name)) for name in ("indices", "features", "statistics")}
        for name in ("mean", "std"):
            card[name] = getattr(found, name).tolist() if found.calibrated else None
        return {"descriptor": card | {"nonfinite": int(found.nonfinite)}}
