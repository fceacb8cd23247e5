"""Models on the Hugging Face Hub: download a snapshot, upload a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from deflect.errors import DownloadError, ModelError, flat
from deflect.settings.own_gfm import HUB

REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)


def fetch(address: str, names: Sequence[str]) -> Path:
    """Download the files ``names`` of ``hf:USER/NAME`` or ``hf:USER/NAME@REVISION`` into the cache of huggingface_hub.

    Raises:
        ModelError: not such an address.
        DownloadError: the files cannot be downloaded and are not in the cache.
    """
    from huggingface_hub import snapshot_download

    name, _, revision = address.removeprefix(HUB).partition("@")
    try:
        return Path(snapshot_download(check_name(name), revision=revision or None, allow_patterns=list(names)))
    except ModelError:
        raise
    except Exception as error:  # of huggingface_hub, its HTTP client or the disk
        raise DownloadError(
            f"{address}: cannot be downloaded ({flat(error)[:300]}); check name, revision and network, or load a folder"
        ) from error


def push(folder: Path, name: str, names: Sequence[str]) -> str:
    """Upload the files ``names`` of ``folder`` to the model repository ``name``, which is made; returns its address.

    Raises:
        DownloadError: there is no token, or the Hub refused it; the message says how to upload the folder later.
    """
    from huggingface_hub import HfApi, get_token

    later = f"{folder} is complete; upload it with `hf upload {check_name(name)} {folder}` after `hf auth login`"
    if not get_token():
        raise DownloadError(f"{name}: no token of the Hugging Face Hub on this machine; {later}")
    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=list(names),
            delete_patterns=list(names),  # such as weights that are no longer shared
            commit_message="Model shared by deflect",
        )
    except Exception as error:  # of huggingface_hub or its HTTP client
        raise DownloadError(f"{name}: cannot be uploaded ({flat(error)[:300]}); {later}") from error
    return f"{HUB}{name}"


def check_name(name: str) -> str:
    """``name`` if it is ``USER/NAME``; else a ModelError."""
    if not REPOSITORY.fullmatch(name):
        raise ModelError(f"{name!r}: expected USER/NAME, letters, digits and . - _ only")
    return name
