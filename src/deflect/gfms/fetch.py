"""Downloading published checkpoints.

Where the publisher states no checksum, that of the first download is written to ``checksums.json`` and enforced later.
"""

from __future__ import annotations

from pathlib import Path

from deflect.data.fetch.file import fetch_file
from deflect.data.fetch.sources import Source
from deflect.errors import DownloadError, ModelError
from deflect.gfms.card import gfm_card


def fetch(name: str, folder: Path, *, size: str = "full") -> Path:
    """Download the published checkpoint of the GFM ``name`` into ``folder``; an existing file is only verified.

    Raises:
        ModelError: the GFM is unknown, or is not published because the workflow pretrains it.
        DownloadError: no address gives the right file; the message says how to get it by hand.
    """
    card, errors = gfm_card(name, size), []
    if not card.sources:
        raise ModelError(f"{name} ({size}) is not published; make it with `deflect gfm pretrain {name}`")
    for weights in card.sources:
        page = weights.url.replace("gdrive:", "https://drive.google.com/file/d/")
        by_hand = f"open {page} in a browser ({card.licence})"
        source = Source(weights.filename, weights.url, sha256=weights.sha256, md5=weights.md5, by_hand=by_hand)
        try:
            return fetch_file(source, folder)
        except DownloadError as error:
            errors.append(str(error))
    raise DownloadError(" ".join(errors))
