"""The settings of a training run, with the paper's protocol (section 4) as the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StrictBool

from deflect.settings.checks import SHOULD, Count, Fraction, Natural, NotNegative, Positive, Rate, Settings, read


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(values):
        raise ValueError(f"{SHOULD}be rising fractions")
    return values


class TrainSettings(Settings):
    """How one run trains, whatever its dataset, GFM and method. The seed is not a setting: it names the run."""

    image_size: Count = 224
    """Side of the model's square input, in pixels."""
    epochs: Count = 50
    """Passes over the training split."""
    batch_size: Count = 8
    """Images per step, over all devices together."""
    lr: Positive = 1e-4
    """Learning rate of AdamW before the first milestone."""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """Decay rates of AdamW's two moments."""
    weight_decay: NotNegative = 0.05
    """Decoupled weight decay of AdamW, on every trained parameter."""
    milestones: Annotated[tuple[Fraction, ...], AfterValidator(_rising)] = (0.6, 0.9)
    """Fractions of all iterations at which the learning rate is multiplied by `gamma`."""
    gamma: Positive = 0.1
    """Factor of the learning rate at each milestone."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Type of the forward pass; parameters and optimiser stay in float32."""
    gradient_checkpointing: StrictBool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    augment: StrictBool = False
    """Random flips and quarter turns of training images; the paper uses none."""
    crop: Literal["random", "focus"] = "random"
    """Where training windows of larger segmentation images lie: anywhere, or around a labelled pixel (MADOS)."""
    gsd: Positive | None = None
    """Metres per pixel for a GSD-aware GFM; null takes the image's own after resizing, PANGAEA takes 1.0."""
    dropout: Rate = 0.1
    """Rate of the segmentation head."""
    upernet_channels: Count = 512
    """Width of the segmentation head."""
    eval_batch_size: Count = 32
    """Images (or windows) per forward pass without gradient."""
    calibration_images: Count = 1024
    """Training images from which a method computes its descriptor statistics."""
    checkpoint_every: Natural = 1
    """Epochs between two checkpoints from which a killed run resumes; 0 writes none."""
    checkpoint_minutes: NotNegative = 10.0
    """Least time between two checkpoints; those of full fine-tuning take several GB each."""

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
