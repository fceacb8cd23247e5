"""Weights of a shared model's GFM that are timm's own, made again where it is loaded."""

from __future__ import annotations

import re
from pathlib import Path

from deflect.errors import ModelError
from deflect.files import cache_folder, sha256_once
from deflect.gfms.card import GFMCard
from deflect.gfms.own import convert_own
from deflect.settings.own_gfm import OwnGFM


def of_timm(card: GFMCard) -> bool:
    """Whether a weight file with this card was made from timm's own pretrained weights."""
    return card.origin.get("weights") == "timm"


def timm_weights(card: GFMCard, sha256: str) -> Path | None:
    """The weight file of ``card`` with ``sha256``, converted into the cache; None if it is not of timm's own weights.

    timm downloads them through the cache of Hugging Face, where they are not in it.

    Raises:
        DownloadError: they are neither in the cache nor can they be downloaded.
        ModelError: timm has other weights by now.
    """
    if not of_timm(card) or not re.fullmatch("[0-9a-f]{64}", sha256):
        return None
    path = cache_folder("gfms") / f"{sha256}.safetensors"
    if not path.is_file():
        own = OwnGFM(
            timm=card.timm,
            mean=card.rgb_mean,
            std=card.rgb_std,
            white=card.reflectance_white,
            gsd=card.gsd_mode,  # type: ignore[arg-type]
            licence=card.licence,
            title=card.title,
        )
        convert_own(card.name, own, path)
    if (found := sha256_once(path)) != sha256:
        path.unlink()
        raise ModelError(
            f"{card.timm}: expected timm's weights to have sha256 {sha256} after conversion, found {found}; not those "
            "of the shared model: ask who shared it for the file: load(..., weights=FILE)"
        )
    return path
