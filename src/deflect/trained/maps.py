"""Maps of scenes: classes, probabilities, numbers or features as a cloud-optimised GeoTIFF on the scene's grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch
from numpy.typing import ArrayLike

import deflect
from deflect.analysis.looks import palette
from deflect.errors import ConfigError
from deflect.settings import PIXEL_TASKS, REGRESSIONS
from deflect.trained.geotiff import Layers, write_geotiff
from deflect.trained.model import TrainedModel
from deflect.trained.opening import Files, open_scene
from deflect.trained.windows import SWATH, Windows


def predict_scene(
    model: TrainedModel,
    scene: Files,
    out: Path,
    *,
    probabilities: bool = False,
    embeddings: bool = False,
    overlap: float = 0.0,
    stride: int | None = None,
    scale: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    any_gsd: bool = False,
    swath: int = SWATH,
) -> Path:
    """Write the map of a scene of any size; memory does not depend on its size.

    It has the most probable class, or percent of each class of a multilabel, or the number of a regression (float32,
    NaN where nothing was measured).

    Args:
        scene: a GeoTIFF, JPEG 2000, PNG or VRT with all bands, or a file for each band by its name; all on one grid.
        out: replaced when the new map is complete.
        probabilities: percent of each class, instead of the most probable class.
        embeddings: features of the patches after the GFM's final norm, instead of classes.
        overlap: where pixels have labels, share of a window up to 0.9 that its neighbour covers at least; the logits
            are blended. 0: the windows of a run's test, which overlap only as far as they must.
        stride: where images have labels, pixels between the windows, each of which is a pixel of the map; by default as
            large as a window.
        scale: (stored value + offset) * scale is reflectance; one number, or one per band of the model. By default
            those in the files, else those of the training images.
        offset: likewise.
        any_gsd: accept pixels of another size on the ground than in training.
        swath: values in memory, see ``Windows``.

    Raises:
        ConfigError: the options contradict each other or the task of the run.
        DataError: the files are damaged, or do not fit the model.
    """
    task, of_pixels = model.images.task, model.images.task in PIXEL_TASKS
    _check_options(task, probabilities, embeddings, overlap, stride)
    with open_scene(scene, model.images, scale, offset, any_gsd) as opened:
        size, predict, cells = model.window, model.predict, 1
        width, layers = len(model.images.classes), _layers(task, model.images.classes, probabilities)
        if embeddings:
            shape = model.embed(torch.full((1, len(opened.channels), size, size), 0.1)).shape
            predict, width, cells = model.embed, shape[1], shape[2]
            names = tuple(f"feature {i}" for i in range(width))
            layers = Layers(names, "float32", float("nan"), lambda values: values)
        elif not of_pixels:
            predict = lambda images: model.predict(images)[..., None, None]  # noqa: E731
        windows = Windows(opened, size, predict, width, model.context, swath)
        if of_pixels and not embeddings:
            blocks, step = windows.blended(overlap), Fraction(1)
        else:
            blocks, step = windows.tiled(stride or size, cells), Fraction(stride or size, cells)
        write_geotiff(out, blocks, layers, opened, step, _tags(model))
    return out


def _layers(task: str, classes: Sequence[str], probabilities: bool) -> Layers:
    if task in REGRESSIONS:
        return Layers(tuple(classes), "float32", float("nan"), lambda numbers: numbers)
    if task == "multilabel":
        return Layers(tuple(classes), "uint8", 255, lambda logits: logits.sigmoid().mul(100).round())
    if probabilities:
        return Layers(tuple(classes), "uint8", 255, lambda logits: logits.softmax(0).mul(100).round())
    kind = ("uint8", 255) if len(classes) < 256 else ("uint16", 65535)
    colours = tuple(palette(len(classes))) if len(classes) < 256 else ()
    return Layers(("class",), *kind, lambda logits: logits.max(0, keepdim=True).indices, colours, "nearest")


def _tags(model: TrainedModel) -> dict[str, str]:
    record = model.record
    return {
        "CLASSES": json.dumps(list(model.images.classes), ensure_ascii=False),
        "DATASET": record["dataset"],
        "GFM": record["gfm"],
        "METHOD": record["method"],
        "RUN_FINGERPRINT": record["fingerprint"],
        "TIFFTAG_SOFTWARE": f"deflect {deflect.__version__}",
    }


def _check_options(task: str, probabilities: bool, embeddings: bool, overlap: float, stride: int | None) -> None:
    of_pixels = task in PIXEL_TASKS
    if probabilities and task in REGRESSIONS:
        raise ConfigError(f"--probabilities: a {task} has none; leave it out, the map has the number itself")
    if probabilities and embeddings:
        raise ConfigError("--probabilities and --embeddings are two maps; make one after the other")
    if not 0 <= overlap <= 0.9:
        raise ConfigError(f"overlap: expected a share of the window from 0 to 0.9, found {overlap}")
    if overlap and (embeddings or not of_pixels):
        raise ConfigError(f"overlap: only for maps of tasks with labels of pixels; a {task} has --stride")
    if stride is not None and (embeddings or of_pixels):
        raise ConfigError(f"stride: only for maps of tasks with labels of images; a {task} has --overlap")
    if stride is not None and stride < 1:
        raise ConfigError(f"stride: expected 1 pixel or more, found {stride}")
