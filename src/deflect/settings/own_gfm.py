"""Settings of a GFM of the user's own: any plain Vision Transformer of timm."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deflect.settings.fields import NotNegative, Positive, Settings

#: Start of the address of a repository of the Hugging Face hub.
HUB = "hf:"


class OwnGFM(Settings):
    timm: str = Field(pattern=r"^[\w.]+$", description="Name of the model in timm, e.g. `vit_small_patch14_dinov2`.")
    weights: str = Field(
        default="timm",
        description="A file (safetensors or a torch checkpoint), `timm` (timm's pretrained weights, from the Hugging "
        "Face cache where they are in it) or `hf:USER/NAME` (a repository of the Hugging Face hub).",
    )
    mean: tuple[NotNegative, NotNegative, NotNegative] | None = Field(
        default=None, description="Of red, green and blue in 0 to 1 in pretraining; by default timm's for this model."
    )
    std: tuple[Positive, Positive, Positive] | None = Field(
        default=None, description="Standard deviations of the same; by default timm's for this model."
    )
    white: Positive = Field(default=0.3, description="Reflectance that is white: RGB = reflectance / white, clipped.")
    gsd: Literal["none", "image"] = Field(
        default="none", description="`image`: positions are sine-cosine of metres on the ground, as Scale-MAE's."
    )
    licence: str = Field(default="", description="Of the weights.")
    title: str = Field(default="", description="In tables and figures; by default timm's name.")

    @property
    def from_hub(self) -> bool:
        """Whether the weights come through the cache of Hugging Face, not from a file."""
        return self.weights == "timm" or self.weights.startswith(HUB)
