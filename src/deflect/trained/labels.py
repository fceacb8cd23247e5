"""A table of the classes and probabilities, or numbers, of images that are about as large as in training."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from deflect.data.card import ImageCard
from deflect.data.readers.own.metadata import GSD_RATIO
from deflect.errors import ConfigError, DataError
from deflect.files import atomic_path
from deflect.settings import PIXEL_TASKS
from deflect.trained.model import TrainedModel
from deflect.trained.opening import Files, open_scene
from deflect.trained.scene import Scene


def label_files(
    model: TrainedModel,
    files: Sequence[Files],
    out: Path,
    *,
    scale: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    any_gsd: bool = False,
) -> Path:
    """Write a CSV with columns file, class, and the probability of each class.

    In a multilabel the column is called classes and has those with more than 0.5, separated by bars; in a
    regression there is the number alone, under the name of the target. They are of the square of the training images'
    size in the middle of a file; smaller files are mirrored. A file without a measured pixel has empty cells.

    Args:
        files: each a GeoTIFF, JPEG 2000, PNG or VRT with all bands; sides within 0.8 to 1.25 of the training images'.
        scale: as in ``predict_scene``.
        offset: likewise.
        any_gsd: likewise.

    Raises:
        ConfigError: the run predicts pixels.
        DataError: a file is damaged, does not fit the model or is too large or small.
    """
    task, classes = model.images.task, model.images.classes
    if task in PIXEL_TASKS:
        raise ConfigError(f"{out}: a {task} has maps, not labels; use -o map.tif")
    header = {"classification": ["class", *classes], "multilabel": ["classes", *classes], "regression": classes}[task]
    with atomic_path(out) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", *header])
        with model.context.bar("predicting", len(files), "files") as bar:
            for start in range(0, len(files), model.context.settings.eval_batch_size):
                part = files[start : start + model.context.settings.eval_batch_size]
                table.writerows(_rows(model, part, scale, offset, any_gsd))
                bar.update(len(part))
    return out


def _rows(
    model: TrainedModel,
    files: Sequence[Files],
    scale: ArrayLike | None,
    offset: ArrayLike | None,
    any_gsd: bool,
) -> Iterator[list[str]]:
    images, measured, paths = [], [], []
    for path in files:
        with open_scene(path, model.images, scale, offset, any_gsd) as scene:
            image, any_measured = _middle(scene)
        images.append(image)
        measured.append(any_measured)
        paths.append(scene.path)
    outputs = model.predict(torch.stack(images)).cpu()
    for path, found, output in zip(paths, measured, outputs, strict=True):
        cells = _cells(model.images, output)
        yield [str(path), *(cells if found else [""] * len(cells))]


def _cells(images: ImageCard, output: Tensor) -> list[str]:
    """The cells of a file, from its logits (K,) or number (1,)."""
    if images.task == "regression":
        return [f"{output.item():.7g}"]
    if images.task == "multilabel":
        values = output.sigmoid()
        named = "|".join(name for name, value in zip(images.classes, values, strict=True) if value > 0.5)
    else:
        values = output.softmax(0)
        named = images.classes[int(values.argmax())]
    return [named, *(f"{value:.6f}" for value in values)]


def _middle(scene: Scene) -> tuple[Tensor, bool]:
    """The square of the training images' size in the middle of a file, and whether it has a measured pixel."""
    size = scene.images.image_size
    if not all(GSD_RATIO[0] <= side / size <= GSD_RATIO[1] for side in (scene.height, scene.width)):
        raise DataError(
            f"{scene.path}: expected about {size} x {size} pixels as in training, found {scene.height} x "
            f"{scene.width}; cut it, or map it as a scene (-o map.tif)"
        )
    image, measured = scene.read(max(scene.height - size, 0) // 2, max(scene.width - size, 0) // 2, size, size)
    return torch.from_numpy(image), bool(measured.any())
