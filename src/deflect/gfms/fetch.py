"""Downloading published checkpoints into a folder, verified as datasets are.

Where the publisher states no checksum, the one found first is kept in ``checksums.json`` of the folder and holds from
then on.
"""

from __future__ import annotations

from pathlib import Path

from deflect.errors import DownloadError, ModelError
from deflect.gfms.card import gfm_card


def fetch(name: str, folder: Path, *, size: str = "full") -> Path:
    """The published checkpoint of the GFM ``name`` in ``folder``, downloaded unless it is there already.

    A file that was put there by hand under its published name is checked and used.

    Raises:
        ModelError: unknown GFM, or one that is not published because the workflow pretrains it.
        DownloadError: no address gives the right file; the message says how to get it by hand.
    """
    pass
    from deflect.data.fetch.file import fetch_file
    from deflect.data.fetch.sources import Source

    card, faults = gfm_card(name, size), []
    if not card.sources:
        raise ModelError(f"{name} ({size}) is not published; make it with `deflect gfm pretrain {name}`")
    for weights in card.sources:
        page = weights.url.replace("gdrive:", "https://drive.google.com/file/d/")
        by_hand = f"open {page} in a browser ({card.licence})"
        source = Source(weights.filename, weights.url, sha256=weights.sha256, md5=weights.md5, by_hand=by_hand)
        try:
            return fetch_file(source, folder)
        except DownloadError as fault:
            faults.append(str(fault))
    raise DownloadError(" ".join(faults))
