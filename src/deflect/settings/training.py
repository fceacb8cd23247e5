"""Settings of training. The defaults are the paper's protocol (section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool

from deflect.settings import METRICS
from deflect.settings.fields import SHOULD, Count, Fraction, Natural, NotNegative, Positive, Rate, Settings, Share
from deflect.settings.reading import read


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if list(values) != sorted(values):
        raise ValueError(f"{SHOULD}be rising fractions")
    return values


class TrainSettings(Settings):
    """Training settings. The seed is part of the run's name."""

    image_size: Count = Field(default=224, description="Side of the model's square input, in pixels.")
    epochs: Count = Field(default=50, description="Passes over the training split.")
    batch_size: Count = Field(default=8, description="Images per step, over all devices together.")
    lr: Positive = Field(default=1e-4, description="Learning rate of AdamW before the first milestone.")
    betas: tuple[Rate, Rate] = Field(default=(0.9, 0.999), description="Decay rates of AdamW's two moments.")
    weight_decay: NotNegative = Field(default=0.05, description="Weight decay of AdamW, on every trained parameter.")
    milestones: Annotated[tuple[Fraction, ...], AfterValidator(_rising)] = Field(
        default=(0.6, 0.9), description="Fractions of the iterations at which `gamma` multiplies the learning rate."
    )
    gamma: Positive = Field(default=0.1, description="Factor of the learning rate at each milestone.")
    precision: Literal["float32", "bf16", "fp16"] = Field(
        default="float32", description="Type of the forward pass; parameters and optimiser stay in float32."
    )
    gradient_checkpointing: StrictBool = Field(
        default=False, description="Recompute activations in the backward pass: less memory, about a third more time."
    )
    augment: StrictBool = Field(default=False, description="Random flips and quarter turns; the paper uses none.")
    crop: Literal["random", "focus"] = Field(
        default="random", description="Windows of larger segmentation images: anywhere, or around a labelled pixel."
    )
    gsd: Positive | None = Field(
        default=None, description="Metres per pixel for a GSD-aware GFM; null takes that of the resized image."
    )
    rgb_statistics: Literal["gfm", "dataset"] = Field(
        default="gfm",
        description="Mean and standard deviation of the RGB input: of the GFM's pretraining, after scaling to `white`, "
        "or of the dataset's reflectance, without scaling and clipping.",
    )
    white: Positive | None = Field(
        default=None, description="Reflectance that is white in the RGB input; null takes that of the GFM's card."
    )
    dropout: Rate = Field(default=0.1, description="Rate of the segmentation head.")
    upernet_channels: Count = Field(default=512, description="Width of the segmentation head.")
    head_init: Literal["small", "torch"] = Field(
        default="small", description="Start of the linear head: truncated normal of 0.02, or torch's default."
    )
    drop_last: StrictBool = Field(default=False, description="Leave out the last batch of an epoch if it is short.")
    validate_every: Count = Field(default=1, description="Epochs between two validations; the last epoch has one.")
    validate_untrained: StrictBool = Field(
        default=False, description="Validate before the first epoch too; the model may be selected."
    )
    selection: Literal["score", "accuracy", "last"] = Field(
        default="score",
        description="Which weights are tested: with the best validation score, the best validation accuracy, or the "
        "last ones.",
    )
    f1_average: Literal["macro", "micro"] = Field(default="macro", description="The F1 that scores a classification.")
    absent_classes: Literal["left_out", "zero"] = Field(
        default="left_out", description="A class in neither labels nor predictions: not in macro means, or 0 in them."
    )
    eval_batch_size: Count = Field(default=32, description="Images (or windows) per forward pass without gradient.")
    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="For imbalanced data: `balanced` weights the loss of a label by the inverse frequency of its class "
        "in the training labels, on average 1; in `multilabel` that of positive ones by negative over positive ones.",
    )
    focal_gamma: NotNegative = Field(
        default=0.0,
        description="For imbalanced data: the focal loss, in which labels that are predicted well count less; 2 in its "
        "paper (Lin et al. 2017), 0 for none.",
    )
    label_fraction: Share = Field(
        default=1.0,
        description="Share of the training images whose labels are used. They are drawn again and again, for as many "
        "steps as the whole split has; see `label_fractions`.",
    )
    calibration_images: Count = Field(default=1024, description="Training images for descriptor statistics.")
    checkpoint_every: Natural = Field(default=1, description="Epochs between two checkpoints; 0 writes none.")
    checkpoint_minutes: NotNegative = Field(
        default=10.0, description="Minimum minutes between two checkpoints, which may take several GB."
    )

    def metric(self, task: str) -> str:
        """The headline metric of a task."""
        return f"f1_{self.f1_average}" if task == "classification" else METRICS[task]

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Validate settings. Raises ConfigError."""
        return read(cls, values, "training")
