"""Fetch and verify one dataset.

data/raw/archives/MADOS.zip         as downloaded, or placed by hand
data/raw/archives/checksums.json
data/raw/mados/                     unpacked, with manifest.json; renamed into place when it is complete
"""

from __future__ import annotations

import logging
from pathlib import Path

from deflect.data.catalog import DATASETS, dataset_sheet
from deflect.data.disk import human, lock, require_space
from deflect.data.fetch.file import fetch_file
from deflect.data.fetch.unpack import unpack
from deflect.data.manifest import MANIFEST, content_errors, describe_folder, read_manifest, write_manifest
from deflect.errors import DownloadError

ARCHIVES = "archives"
log = logging.getLogger(__name__)


def fetch(dataset: str, raw_root: Path | str, *, keep_archive: bool = True) -> Path:
    """The folder ``raw_root/dataset``, downloaded and unpacked if it does not exist or is empty."""
    source = dataset_sheet(dataset).source
    folder, archives = Path(raw_root) / dataset, Path(raw_root) / ARCHIVES
    archive = archives / source.name
    with lock(archives, dataset):
        if is_present(folder):
            return folder
        download = 0 if archive.exists() else source.bytes or 0
        require_space(archives, download + (source.unpacked_bytes or 0))
        unpack(fetch_file(source, archives), folder, source)
        if not keep_archive:
            archive.unlink()
    log.info("%s is complete in %s", dataset, folder)
    return folder


def is_present(folder: Path) -> bool:
    """Whether ``folder`` contains a dataset; it gets its name only when it is complete."""
    return folder.is_dir() and any(folder.iterdir())


def verify(dataset: str, raw_root: Path | str) -> str:
    """Compare every file of a raw dataset with its checksum; returns a summary in one line.

    Checksums of a folder that was placed by hand are recorded now and enforced from then on.
    """
    folder = Path(raw_root) / dataset
    if not is_present(folder):
        raise DownloadError(f"{folder}: nothing to verify; run `deflect data fetch {dataset}`")
    new = not (folder / MANIFEST).exists()
    if new:
        write_manifest(folder, None, describe_folder(folder))
    errors = [] if new else content_errors(folder)
    files = read_manifest(folder)["files"].values()
    if errors:
        again = f"Delete {folder} and fetch again"
        if dataset not in DATASETS:
            again = f"Restore them, or delete {folder / MANIFEST} to accept your files as they are now"
        raise DownloadError(f"{len(errors)} of {len(files)} files are wrong: {'; '.join(errors[:3])}. {again}")
    found = "placed by hand, checksums recorded now" if new else "all as recorded"
    return f"{dataset}: {len(files)} files, {human(sum(facts['bytes'] for facts in files))}, {found}"
