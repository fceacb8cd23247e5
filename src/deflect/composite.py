"""Three bands of an image as a picture for display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deflect.bands import BandSet


def composite(image: NDArray[Any], bands: BandSet, roles: Sequence[str], joint: bool = False) -> NDArray[np.float64]:
    """Three bands of ``image`` (C, H, W) as (H, W, 3) from 0 to 1, stretched between their 2nd and 98th percentiles.

    Args:
        roles: Spyndex letters of the bands shown as red, green and blue.
        joint: stretch the three together, which keeps natural colours; otherwise each by itself.
    """
    shown = np.stack([image[bands.channel_of_role(role)] for role in roles], axis=-1)
    valid = shown[np.any(shown != 0, axis=-1)]  # nodata is zero in every band
    if valid.size == 0:
        return np.zeros_like(shown)
    low, high = np.percentile(valid, [2, 98], axis=None if joint else 0)
    return np.clip((shown - low) / np.maximum(high - low, 1e-6), 0, 1)
