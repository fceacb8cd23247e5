"""One class per file: a table of the classes and probabilities of images that are about as large as in training."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from deflect.data.readers.own.metadata import GSD_RATIO
from deflect.errors import ConfigError, DataError
from deflect.files import atomic_path
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

    The class is that of the square of the training images' size in the middle of a file; smaller files are mirrored.
    A file without a measured pixel has no class.

    Args:
        files: each a GeoTIFF or VRT with all bands; sides within 0.8 to 1.25 of the training images'.
        scale, offset, any_gsd: as in ``predict_scene``.

    Raises:
        ConfigError: the run is a segmentation.
        DataError: a file is damaged, does not fit the model or is too large or small.
    """
    if model.images.task != "classification":
        raise ConfigError(f"{out}: a segmentation has maps, not labels; use -o map.tif")
    with atomic_path(out) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "class", *model.images.classes])
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
    probabilities = model.predict(torch.stack(images)).softmax(1).cpu()
    for path, found, values in zip(paths, measured, probabilities, strict=True):
        if found:
            yield [str(path), model.images.classes[int(values.argmax())], *(f"{value:.6f}" for value in values)]
        else:
            yield [str(path), "", *("" for _ in values)]


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
