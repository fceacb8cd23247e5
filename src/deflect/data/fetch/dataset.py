"""One dataset: whole in its folder, or not there.

data/raw/archives/MADOS.zip         as downloaded, or placed by hand
data/raw/archives/checksums.json
data/raw/mados/                     unpacked, with manifest.json; appears by one rename when it is whole
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
    """The folder ``raw_root/dataset`` with the published files, fetched and unpacked where it is not there yet.

    A folder that is there, fetched before or placed by hand, is left as it is.

    Raises:
        DownloadError, DataError, DataError, ConfigError: with what to do.
    """
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
    log.info("%s is whole at %s", dataset, folder)
    return folder


def is_present(folder: Path) -> bool:
    """Whether there is a dataset in ``folder``; it gets this name only when it is whole."""
    return folder.is_dir() and any(folder.iterdir())


def verify(dataset: str, raw_root: Path | str) -> str:
    """Compare every file of a raw dataset with its checksum; returns one line that says what was found right.

    A folder that was placed by hand has no checksums: they are recorded now and enforced from then on.

    Raises:
        DownloadError: there is no such dataset in ``raw_root``, or files of it are missing or changed.
    """
    folder = Path(raw_root) / dataset
    if not is_present(folder):
        raise DownloadError(f"{folder}: nothing to verify; run `deflect data fetch {dataset}`")
    new = not (folder / MANIFEST).exists()
    if new:
        write_manifest(folder, None, describe_folder(folder))
    faults = [] if new else content_errors(folder)
    files = read_manifest(folder)["files"].values()
    if faults:
        again = f"Delete {folder} and fetch again"
        if dataset not in DATASETS:
            again = f"Restore them, or delete {folder / MANIFEST} to take your files as they are now"
        raise DownloadError(f"{len(faults)} of {len(files)} files are wrong: {'; '.join(faults[:3])}. {again}")
    found = "placed by hand, checksums recorded now" if new else "all as recorded"
    return f"{dataset}: {len(files)} files, {human(sum(facts['bytes'] for facts in files))}, {found}"
