"""Building what a run trains: the GFM at the run's input size, adapted, tapped and with a head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torchvision.transforms.functional import center_crop

from deflect.data.store import Split, StoreCard
from deflect.gfms import load_gfm, taps
from deflect.methods import AdaptedGFM, adapt_as, method_config
from deflect.settings.training import TrainSettings
from deflect.training.batches import Features, fit_to
from deflect.training.context import Context
from deflect.training.model import TaskModel, build_head

#: Features of a frozen encoder are kept in memory up to this many bytes per split.
FEATURE_BYTES = 2 * 1024**3


def input_gsd(card: StoreCard, settings: TrainSettings) -> float:
    """Metres per pixel of the model's input: larger segmentation images are cut, everything else is resized."""
    if settings.gsd is not None:
        return settings.gsd
    return card.gsd if is_cut(card, settings) else card.gsd * card.image_size / settings.image_size


def is_cut(card: StoreCard, settings: TrainSettings) -> bool:
    """Whether the model sees windows of the images and not whole images."""
    return card.task == "segmentation" and card.image_size > settings.image_size


def build_gfm(name: str, weights: Path | None, size: str, card: StoreCard, context: Context) -> VisionTransformer:
    """The GFM for this data set and input size; without a weight file it is random, from the seed alone."""
    torch.manual_seed(context.seed)
    settings = context.settings
    return load_gfm(name, weights, size=size, img_size=settings.image_size, gsd=input_gsd(card, settings))


def build_model(
    gfm: VisionTransformer, method: str, method_settings: dict[str, Any], card: StoreCard, context: Context
) -> TaskModel:
    """Adapt ``gfm`` by ``method`` and put the task's head on it; fresh weights come from the seed alone."""
    torch.manual_seed(context.seed)
    adapted = adapt_as(gfm, method, method_config(method, **method_settings), card.bands, card.statistics)
    if context.settings.gradient_checkpointing:
        adapted.set_grad_checkpointing()
    return with_head(adapted, card, context)


def with_head(adapted: AdaptedGFM, card: StoreCard, context: Context) -> TaskModel:
    """Tap an adapted GFM at the paper's depths and add the head of the task."""
    depths = taps(adapted.depth)
    head = build_head(card.task, adapted.embed_dim, len(depths), len(card.classes), context.settings)
    return TaskModel(adapted, head, depths).to(context.device)


def calibrate(model: TaskModel, split: Split, context: Context) -> None:
    """Show the method training images spread over the split, from which it takes its descriptor statistics."""
    settings = context.settings
    size, cut = settings.image_size, is_cut(split.card, settings)
    rows = torch.linspace(0, len(split) - 1, min(len(split), settings.calibration_images)).round().long()

    def batches() -> Iterator[Tensor]:
        shown = context.bar("calibrating", len(rows), "images")
        for part in rows.split(settings.eval_batch_size):
            images = split.batch(part)[0].to(context.device)
            yield center_crop(images, size) if cut else fit_to(images, size)  # type: ignore[arg-type]
            shown.update(len(part))
        shown.close()

    model.adapted.calibrate(batches())


def cached_features(model: TaskModel, split: Split, context: Context) -> Features | None:
    """All features of a split, where they are the same in every epoch and fit in memory; else ``None``."""
    settings = context.settings
    changes = is_cut(split.card, settings) or settings.augment
    if not model.encoder_is_frozen or changes or context.ranks.world > 1:
        return None
    kept: list[list[Tensor]] = []
    labels: list[Tensor] = []
    shown = context.bar(f"features of {split.name}", len(split), "images")
    for rows in torch.arange(len(split)).split(settings.eval_batch_size):
        images, truth = split.batch(rows)
        with torch.no_grad(), context.autocast():
            features = model.eval().features(fit_to(images.to(context.device), settings.image_size))
        if sum(f.nbytes for f in features) / len(rows) * len(split) > FEATURE_BYTES:
            shown.close()
            return None
        kept.append(features)
        labels.append(truth.to(context.device))
        shown.update(len(rows))
    shown.close()
    joined = [torch.cat([batch.pop(0) for batch in kept]) for _ in range(len(kept[0]))]  # tap by tap frees the parts
    return Features(joined, torch.cat(labels))
