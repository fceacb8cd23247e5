"""The settings of a training run, with the paper's protocol (section 4) as the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool

from deflect.settings.fields import SHOULD, Count, Fraction, Natural, NotNegative, Positive, Rate, Settings
from deflect.settings.reading import read


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(values):
        raise ValueError(f"{SHOULD}be rising fractions")
    return values


class TrainSettings(Settings):
    """How one run trains, whatever its dataset, GFM and method. The seed is not a setting: it names the run."""

    image_size: Count = Field(default=224, description="Side of the model's square input, in pixels.")
    epochs: Count = Field(default=50, description="Passes over the training split.")
    batch_size: Count = Field(default=8, description="Images per step, over all devices together.")
    lr: Positive = Field(default=1e-4, description="Learning rate of AdamW before the first milestone.")
    betas: tuple[Rate, Rate] = Field(default=(0.9, 0.999), description="Decay rates of AdamW's two moments.")
    weight_decay: NotNegative = Field(
        default=0.05, description="Decoupled weight decay of AdamW, on every trained parameter."
    )
    milestones: Annotated[tuple[Fraction, ...], AfterValidator(_rising)] = Field(
        default=(0.6, 0.9),
        description="Fractions of all iterations at which the learning rate is multiplied by `gamma`.",
    )
    gamma: Positive = Field(default=0.1, description="Factor of the learning rate at each milestone.")
    precision: Literal["float32", "bf16", "fp16"] = Field(
        default="float32", description="Type of the forward pass; parameters and optimiser stay in float32."
    )
    gradient_checkpointing: StrictBool = Field(
        default=False, description="Recompute activations in the backward pass: less memory, about a third more time."
    )
    augment: StrictBool = Field(
        default=False, description="Random flips and quarter turns of training images; the paper uses none."
    )
    crop: Literal["random", "focus"] = Field(
        default="random",
        description="Where training windows of larger segmentation images lie: anywhere, or around a labelled pixel "
        "(MADOS).",
    )
    gsd: Positive | None = Field(
        default=None,
        description="Metres per pixel for a GSD-aware GFM; null takes the image's own after resizing, PANGAEA takes "
        "1.0.",
    )
    dropout: Rate = Field(default=0.1, description="Rate of the segmentation head.")
    upernet_channels: Count = Field(default=512, description="Width of the segmentation head.")
    eval_batch_size: Count = Field(default=32, description="Images (or windows) per forward pass without gradient.")
    calibration_images: Count = Field(
        default=1024, description="Training images from which a method computes its descriptor statistics."
    )
    checkpoint_every: Natural = Field(
        default=1, description="Epochs between two checkpoints from which a killed run resumes; 0 writes none."
    )
    checkpoint_minutes: NotNegative = Field(
        default=10.0, description="Least time between two checkpoints; those of full fine-tuning take several GB each."
    )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, for the run record."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Read settings; those left out take their defaults.

        Raises:
            ConfigError: a key is unknown, or a value cannot be used.
        """
        return read(cls, values, "training")
