"""Checks of a scene before it is predicted: one grid, the pixel size of training, reflectance."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from deflect.data.checks import DARKEST
from deflect.data.readers.own.metadata import GSD_RATIO
from deflect.data.readers.raster import Grid, metres
from deflect.errors import DataError, ModelError
from deflect.trained.scene import Scene

log = logging.getLogger(__name__)

#: Reflectance is checked in PROBES x PROBES windows of PROBE pixels along a side, evenly spaced in the scene.
PROBES, PROBE = 5, 64


def check_grid(path: Path, file: Any, first: Path, expected: Any) -> None:
    """Raise DataError unless two open files have the same size, coordinate system and transform."""
    for what, found, wanted in (
        ("size", file.shape, expected.shape),
        ("coordinate system", file.crs, expected.crs),
        ("transform", file.transform[:6], expected.transform[:6]),
    ):
        same = np.allclose(found, wanted, rtol=1e-9, atol=1e-9) if what == "transform" else found == wanted
        if not same:
            raise DataError(
                f"{path}: expected {what} {wanted} as of {first}, found {found}; warp all files to one grid (gdalwarp)"
            )


def check_gsd(scene: Scene) -> None:
    """Compare the size of pixels with that of the training images.

    Raises:
        DataError: it is less than 0.8 or more than 1.25 times as large.
    """
    gsd = scene.images.gsd
    side = metres(Grid((scene.height, scene.width), scene.grid.crs, scene.grid.transform))
    if side is None:
        log.info("%s: does not state the size of its pixels; it should be that of training, %g m", scene.path, gsd)
    elif not GSD_RATIO[0] <= side / gsd <= GSD_RATIO[1]:
        raise DataError(
            f"{scene.path}: expected pixels of {gsd:g} m as in training, found {side:.3g} m; resample the scene "
            "(gdalwarp -tr SIZE SIZE), or pass --any-gsd to predict it as it is"
        )


def check_reflectance(scene: Scene) -> None:
    """Check measured pixels of windows all over the scene.

    Raises:
        DataError: they are digital numbers, z-scores or too dark.
    """
    import torch

    from deflect.methods import inputs

    rows, columns = (
        sorted({*np.linspace(0, max(side - PROBE, 0), PROBES).astype(int).tolist()})
        for side in (scene.height, scene.width)
    )
    found = []
    for top in rows:
        for left in columns:
            image, measured = scene.read(top, left, min(PROBE, scene.height), min(PROBE, scene.width))
            found.append(image[:, measured])
    pixels = np.concatenate(found, axis=1)
    if not pixels.size:
        log.warning("%s: all bands measured in none of %d places: reflectance is not checked", scene.path, len(found))
        return
    remedy = "pass the scene's --scale and --offset: (stored + offset) * scale is reflectance"
    try:
        inputs.check_reflectance(str(scene.path), torch.from_numpy(pixels)[None, :, None], scene.images.bands)
    except ModelError as error:
        raise DataError(f"{error}; {remedy}") from error
    if (brightest := pixels.mean(axis=1).max()) < DARKEST:
        raise DataError(f"{scene.path}: the brightest band has a mean reflectance of {brightest:.2g}; {remedy}")
