"""The settings of a training run, with the paper's protocol (section 4) as the defaults.

A plain dataclass of the standard library, so that reading the configuration costs no import of torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from deflect.errors import DeflectError

Precision = Literal["float32", "bf16", "fp16"]
Crop = Literal["random", "focus"]


class SettingsError(DeflectError):
    """A training setting is out of range or not among its choices."""


@dataclass(frozen=True)
class TrainSettings:
    """How one run trains, whatever its data set, GFM and method. The seed is not a setting: it names the run.

    Attributes:
        image_size: side of the model's square input, in pixels.
        epochs: passes over the training split.
        batch_size: images per step, over all devices together.
        lr: learning rate of AdamW before the first milestone.
        betas: decay rates of AdamW's two moments.
        weight_decay: decoupled weight decay of AdamW, on every trained parameter.
        milestones: fractions of all iterations at which the learning rate is multiplied by ``gamma``.
        gamma: factor of the learning rate at each milestone.
        precision: type of the forward pass; parameters and optimiser stay in float32.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time.
        augment: random flips and quarter turns of training images; the paper uses none.
        crop: where training windows of larger segmentation images lie: anywhere, or around a labelled pixel (MADOS).
        gsd: metres per pixel told to a GSD-aware GFM; None takes the image's own after resizing, PANGAEA takes 1.0.
        dropout: rate of the segmentation head.
        upernet_channels: width of the segmentation head.
        eval_batch_size: images (or windows) per forward pass without gradient.
        calibration_images: training images from which a method draws its descriptor statistics.
        checkpoint_every: epochs between two checkpoints from which a killed run resumes; 0 writes none.
        checkpoint_minutes: least time between two checkpoints; those of full fine-tuning take several GB each.
    """

    image_size: int = 224
    epochs: int = 50
    batch_size: int = 8
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    milestones: tuple[float, ...] = (0.6, 0.9)
    gamma: float = 0.1
    precision: Precision = "float32"
    gradient_checkpointing: bool = False
    augment: bool = False
    crop: Crop = "random"
    gsd: float | None = None
    dropout: float = 0.1
    upernet_channels: int = 512
    eval_batch_size: int = 32
    calibration_images: int = 1024
    checkpoint_every: int = 1
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name in ("image_size", "epochs", "batch_size", "upernet_channels", "eval_batch_size", "calibration_images"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("lr", "gamma"):
            self._require(name, getattr(self, name) > 0, "a positive number")
        self._require("weight_decay", self.weight_decay >= 0, "at least 0")
        self._require("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        rising = list(self.milestones) == sorted(self.milestones)
        self._require("milestones", rising and all(0 < m < 1 for m in self.milestones), "rising fractions in (0, 1)")
        self._require("precision", self.precision in ("float32", "bf16", "fp16"), "float32, bf16 or fp16")
        self._require("crop", self.crop in ("random", "focus"), "random or focus")
        self._require("gsd", self.gsd is None or self.gsd > 0, "metres per pixel, or None")
        self._require("dropout", 0 <= self.dropout < 1, "a number in [0, 1)")
        for name in ("checkpoint_every", "checkpoint_minutes"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        # Lists, as JSON and YAML give them, would make equal settings compare unequal.
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "milestones", tuple(self.milestones))

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise SettingsError(f"training.{name}: expected {expected}, found {getattr(self, name)!r}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, for the run record."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainSettings:
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise SettingsError(
                f"training.{unknown[0]}: no such setting; there are {', '.join(sorted(cls.__dataclass_fields__))}"
            )
        return cls(**values)
