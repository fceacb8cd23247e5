"""The model: an adapted GFM at the run's input size, and a task head on the features of some blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.transforms.functional import center_crop

from deflect.data.card import ImageCard
from deflect.data.store import Split, StoreCard
from deflect.errors import DeflectError
from deflect.gfms import GFMCard, load_gfm
from deflect.gfms.card import near_size
from deflect.heads import LinearHead, RegressionHead, UPerNet
from deflect.methods import AdaptedGFM, adapt_as, method_config
from deflect.methods.inputs import RGBInput
from deflect.settings import PIXEL_TASKS, REGRESSIONS
from deflect.settings.training import TrainSettings
from deflect.training.batches import Features, Inputs, fit_to
from deflect.training.context import Context

Head = LinearHead | UPerNet | RegressionHead
#: Features of a frozen encoder are kept in memory up to this many bytes per split.
FEATURE_BYTES = 2 * 1024**3


class TaskModel(nn.Module):
    """Reflectance images (B, C, H, W) to logits: (B, K) with a linear head, (B, K, H, W) with UPerNet.

    With the head of a regression they are numbers in the unit of the target, and K is 1.
    """

    def __init__(self, adapted: AdaptedGFM, head: Head, taps: Sequence[int]) -> None:
        super().__init__()
        self.adapted = adapted
        self.head = head
        self.taps = tuple(taps)
        self.encoder_is_frozen = not any(p.requires_grad for p in adapted.parameters())

    def features(self, images: Tensor) -> list[Tensor]:
        """The input of the head's parameters; constant for an image if the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_is_frozen):
            return self.head.reduce(self.adapted.forward_intermediates(images, indices=self.taps))

    def forward(self, inputs: Inputs, size: Sequence[int] | None = None) -> Tensor:
        """Float32 logits or numbers; those of pixels are interpolated to ``size`` (default: the images' own)."""
        features = inputs if isinstance(inputs, list) else self.features(inputs)
        logits = self.head.classify(features).float()
        if logits.ndim == 2:
            return logits
        if size is None:
            size = inputs.shape[-2:] if isinstance(inputs, Tensor) else logits.shape[-2:]
        return F.interpolate(logits, list(size), mode="bilinear")

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU of all that training changes: adapter and head, under ``adapted.`` and ``head.``."""
        tensors = {f"adapted.{k}": v for k, v in self.adapted.adapter_state().items()}
        tensors |= {f"head.{k}": v for k, v in self.head.state_dict().items()}
        return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``state`` returned.

        Raises:
            DeflectError: keys are unexpected or missing.
        """
        expected = {f"adapted.{k}" for k in self.adapted.adapter_state()}
        expected |= {f"head.{k}" for k in self.head.state_dict()}
        if expected != set(state):
            odd = ", ".join(sorted(expected ^ set(state))[:5])
            raise DeflectError(f"saved weights are of another model: only one of the two has {odd}; train again")
        self.load_state_dict(dict(state), strict=False)


def fitted(settings: TrainSettings, gfm: GFMCard) -> TrainSettings:
    """The settings with the image size nearest to theirs that the GFM's patches divide."""
    size = near_size(settings.image_size, gfm.architecture["patch_size"])
    return settings.model_copy(update={"image_size": size})


def input_gsd(card: ImageCard, settings: TrainSettings) -> float:
    """Metres per pixel of the model's input: larger images with labels of pixels are cut, all others are resized."""
    if settings.gsd is not None:
        return settings.gsd
    return card.gsd if is_cut(card, settings) else card.gsd * card.image_size / settings.image_size


def is_cut(card: ImageCard, settings: TrainSettings) -> bool:
    """Whether the model's inputs are windows of the images."""
    return card.task in PIXEL_TASKS and card.image_size > settings.image_size


def build_gfm(name: str, weights: Path | None, size: str, card: ImageCard, context: Context) -> VisionTransformer:
    """The GFM for this dataset and input size; without a weight file it is random and depends on the seed only."""
    torch.manual_seed(context.seed)
    settings = context.settings
    return load_gfm(name, weights, size=size, img_size=settings.image_size, gsd=input_gsd(card, settings))


def rgb_input(gfm: VisionTransformer, card: StoreCard, settings: TrainSettings) -> RGBInput:
    """How reflectance becomes the RGB input of ``gfm``."""
    rgb = RGBInput.of(gfm)
    if settings.rgb_statistics == "gfm":
        return replace(rgb, reflectance_white=settings.white or rgb.reflectance_white)
    mean, std = (
        tuple(values[channel] for channel in card.bands.rgb) for values in (card.statistics.mean, card.statistics.std)
    )
    return replace(rgb, rgb_mean=mean, rgb_std=std, reflectance_white=None)


def build_model(
    gfm: VisionTransformer, method: str, method_settings: dict[str, Any], card: StoreCard, context: Context
) -> TaskModel:
    """Adapt ``gfm`` by ``method`` and add the head of the task; new weights depend on the seed only."""
    torch.manual_seed(context.seed)
    config, rgb = method_config(method, **method_settings), rgb_input(gfm, card, context.settings)
    adapted = adapt_as(gfm, method, config, card.bands, card.statistics, rgb)
    if context.settings.gradient_checkpointing:
        adapted.set_grad_checkpointing()
    model = with_head(adapted, card, context)
    if isinstance(model.head, RegressionHead) and card.target:
        model.head.set_target(*card.target)
    return model


def with_head(adapted: AdaptedGFM, card: ImageCard, context: Context) -> TaskModel:
    """Add the head of a dataset's task, on the run's device."""
    return add_head(adapted, card.task, len(card.classes), context.settings).to(context.device)


def add_head(adapted: AdaptedGFM, task: str, num_classes: int, settings: TrainSettings | None = None) -> TaskModel:
    """An adapted GFM with the head of a task on its features at the paper's depths.

    Args:
        task: "classification" or "multilabel" (a linear head, logits (B, K)), "segmentation" (UPerNet, logits
            (B, K, H, W)), "regression" or "pixel_regression" (the same with one output each; its ``set_target`` takes
            mean and standard deviation of the training labels).
        settings: `head_init`, `upernet_channels` and `dropout` of the head, by default those of the paper's protocol.
    """
    return TaskModel(adapted, build_head(task, adapted, num_classes, settings or TrainSettings()), adapted.taps(task))


def build_head(task: str, adapted: AdaptedGFM, num_classes: int, settings: TrainSettings) -> Head:
    """The head of a task, with new weights from torch's current random state."""
    maps = len(adapted.taps(task))
    width = adapted.map_width(maps)
    head: LinearHead | UPerNet
    if task in PIXEL_TASKS:
        head = UPerNet(width, num_classes, channels=settings.upernet_channels, dropout=settings.dropout)
    else:
        head = LinearHead(width, maps, num_classes, settings.head_init)
    return RegressionHead(head) if task in REGRESSIONS else head


def calibrate(model: TaskModel, split: Split, context: Context) -> None:
    """Let the method compute its descriptor statistics from training images, evenly spaced in the split."""
    settings = context.settings
    size, cut = settings.image_size, is_cut(split.card, settings)
    rows = torch.linspace(0, len(split) - 1, min(len(split), settings.calibration_images)).round().long()

    def batches() -> Iterator[Tensor]:
        with context.bar("calibrating", len(rows), "images") as shown:
            for part in rows.split(settings.eval_batch_size):
                images = split.batch(part)[0].to(context.device)
                yield center_crop(images, size) if cut else fit_to(images, size)  # type: ignore[arg-type]
                shown.update(len(part))

    model.adapted.calibrate(batches())


def cached_features(model: TaskModel, split: Split, context: Context) -> Features | None:
    """All features of a split, if they are the same in every epoch and fit in memory; else ``None``."""
    settings = context.settings
    changes = is_cut(split.card, settings) or settings.augment
    if not model.encoder_is_frozen or changes or context.ranks.world > 1:
        return None
    kept: list[list[Tensor]] = []
    labels: list[Tensor] = []
    with context.bar(f"features of {split.name}", len(split), "images") as shown:
        for rows in torch.arange(len(split)).split(settings.eval_batch_size):
            images, truth = split.batch(rows)
            with torch.no_grad(), context.autocast():
                features = model.eval().features(fit_to(images.to(context.device), settings.image_size))
            if sum(f.nbytes for f in features) / len(rows) * len(split) > FEATURE_BYTES:
                return None
            kept.append(features)
            labels.append(truth.to(context.device))
            shown.update(len(rows))
    joined = [torch.cat([batch.pop(0) for batch in kept]) for _ in range(len(kept[0]))]  # tap by tap frees the parts
    return Features(joined, torch.cat(labels), split.card)
