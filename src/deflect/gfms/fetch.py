"""Downloading published checkpoints: Hugging Face and GitHub over https, Google Drive through gdown.

Files are compared with the checksums of the card; where the publisher states none, what was found is recorded beside
the file in ``checksums.json`` and holds from then on.
"""

from __future__ import annotations

from pathlib import Path

from deflect.gfms.card import GFMError, WeightSource, gfm_card


def fetch(name: str, folder: Path, *, size: str = "full") -> Path:
    """The published checkpoint of the GFM ``name`` in ``folder``, downloaded unless it is there already.

    A file that was put there by hand under its published name is checked and used.

    Raises:
        GFMError: unknown GFM, or one that is not published because the workflow pretrains it.
        deflect.data.fetch_file.FetchError: no address gives the right file; the message says how to get it by hand.
    """
    from deflect.data.fetch_file import FetchError, fetch_file
    from deflect.data.sources import Source

    card = gfm_card(name, size)
    if not card.sources:
        raise GFMError(f"{name} ({size}) is not published; make it with `deflect gfm pretrain {name}`")
    faults = []
    for source in card.sources:
        by_hand = f"open {_page(source)} in a browser ({card.licence})"
        known = Source(
            source.filename, source.url, sha256=source.sha256, md5=source.md5, licence=card.licence, by_hand=by_hand
        )
        try:
            return fetch_file(known, Path(folder))
        except FetchError as error:
            faults.append(str(error))
    raise FetchError(" ".join(faults))


def _page(source: WeightSource) -> str:
    """An address that a person can open."""
    return source.url.replace("gdrive:", "https://drive.google.com/file/d/")
