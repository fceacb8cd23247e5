"""Files that point outside or state sizes beyond any memory are refused in one line, quickly and within 1 GB."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import resource
import shutil
import signal
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
import yaml
from own_data import CARD, image, write_card, write_folders, write_masks, write_table, write_tiff
from paths import ROOT

from deflect.analysis.records import load_study
from deflect.config import load
from deflect.data.catalog import DATASETS
from deflect.data.fetch.sources import Source
from deflect.data.fetch.unpack import unpack
from deflect.data.prepare import prepare
from deflect.errors import ConfigError, DeflectError
from deflect.files import read_json

MEMORY, SECONDS = 1 << 30, 10
SOURCE = Source("a", "https://example.org/a", version="7", unpacked_bytes=10_000, layout="geotiff")


def within_limits(action: Callable[..., object], *arguments: Any) -> str:
    """The one-line error of ``action`` in a process with 1 GB more memory and 10 seconds."""
    queue: multiprocessing.Queue[str] = multiprocessing.get_context("fork").Queue()

    def child() -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        taken = next(int(line.split()[1]) for line in lines if line.startswith("VmData")) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (taken + MEMORY, taken + MEMORY))
        signal.alarm(SECONDS)
        try:
            action(*arguments)
            queue.put("nothing was refused")
        except DeflectError as error:
            queue.put(f"refused: {error}")
        except BaseException as error:
            queue.put(f"{type(error).__name__}: {error}")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(SECONDS + 5)
    assert process.exitcode == 0, f"killed after {SECONDS} s or for its memory"
    message = queue.get()
    assert "\n" not in message
    assert len(message) < 600
    return message


# ---------------------------------------------------------------------- datasets


def vrt(folder: Path) -> None:
    """A VRT of a file outside the dataset, with the name of a GeoTIFF."""
    outside = folder.parent / "outside.tif"
    write_tiff(outside, image(5))
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{b}"><SimpleSource><SourceFilename>{outside}</SourceFilename>'
        f"<SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>"
        for b in (1, 2, 3, 4)
    )
    text = f'<VRTDataset rasterXSize="16" rasterYSize="16">{bands}</VRTDataset>'
    (folder / "field/field_3.tif").write_text(text)


def sparse(folder: Path) -> None:
    """20,000 x 20,000 pixels in a few kB."""
    profile = {"driver": "GTiff", "count": 4, "height": 20_000, "width": 20_000, "dtype": "uint16"}
    with rasterio.open(folder / "field/field_3.tif", "w", SPARSE_OK=True, tiled=True, **profile):
        pass


def aliases(folder: Path) -> None:
    """Ten billion names from ten lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    (folder / "card.yaml").write_text(
        "\n".join(lines) + "\n" + yaml.safe_dump(CARD | {"classes": "x"}) + "classes: *a9"
    )


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def band(folder: Path, change: Callable[[h5py.File, str], object]) -> None:
    """Replace the green band of one sample."""
    with h5py.File(folder / "id_0001.hdf5", "r+") as file:
        key = next(name for name in file if name.startswith("03"))
        del file[key]
        change(file, key)


def external_link(file: h5py.File, key: str) -> None:
    file[key] = h5py.ExternalLink("id_0002.hdf5", key)


def external_storage(file: h5py.File, key: str) -> None:
    file.create_dataset(key, (32, 32), "f4", external=[("/etc/hostname", 0, 4096)])


def virtual(file: h5py.File, key: str) -> None:
    layout = h5py.VirtualLayout((32, 32), "f4")
    layout[:] = h5py.VirtualSource("id_0002.hdf5", key, (32, 32))
    file.create_virtual_dataset(key, layout)


def huge(file: h5py.File, key: str) -> None:
    file.create_dataset(key, (60_000, 60_000), "f4", chunks=(100, 100))


def chunk(file: h5py.File, key: str) -> None:
    file.create_dataset(key, (32, 32), "f4", chunks=(20_000, 20_000), maxshape=(None, None), compression="gzip")


def partition(folder: Path, name: str) -> None:
    path = folder / "default_partition.json"
    content = json.loads(path.read_text())
    content["valid"][0] = name
    path.write_text(json.dumps(content))


HOSTILE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "VRT": ("folders", vrt, "field_3.tif"),
    "sparse": ("folders", sparse, "states 4 x 20000 x 20000 values, 3.2 GB"),
    "pipe for an image": (
        "folders",
        lambda f: pipe(f / "field/field_3.tif"),
        "field_3.tif: expected a file, found a pipe",
    ),
    "pipe for a card": ("folders", lambda f: pipe(f / "card.yaml"), "card.yaml: expected a file, found a pipe"),
    "folder for a table": (
        "table",
        lambda f: ((f / "labels.csv").unlink(), (f / "labels.csv").mkdir()),
        "labels.csv: expected a file, found a folder",
    ),
    "labels outside": (
        "table",
        lambda f: write_card(f, labels="../l.csv", splits="column"),
        "a file of the dataset's folder",
    ),
    "labels anywhere": (
        "table",
        lambda f: write_card(f, labels="/l.csv", splits="column"),
        "a file of the dataset's folder",
    ),
    "splits outside": (
        "masks",
        lambda f: write_card(
            f, task="segmentation", labels="masks", splits=dict.fromkeys(("train", "val", "test"), "../../passwd.txt")
        ),
        "files of the dataset's folder",
    ),
    "aliases": ("folders", aliases, "once its aliases are written out"),
    "nested card": ("folders", lambda f: (f / "card.yaml").write_text("[" * 5000), "cannot be read as YAML"),
    "number": ("folders", lambda f: (f / "card.yaml").write_text(f"gsd: {'9' * 5000}"), "cannot be read as YAML"),
    "card in another encoding": (
        "folders",
        lambda f: (f / "card.yaml").write_bytes(b"title: \xff"),
        "expected text in UTF-8",
    ),
    "endless card": ("folders", lambda f: os.truncate(f / "card.yaml", 1 << 40), "expected at most"),
    "endless table": ("table", lambda f: os.truncate(f / "labels.csv", 1 << 40), "expected at most"),
    "wide cell": (
        "table",
        lambda f: (f / "labels.csv").write_text('image,label,split\n"' + "x" * 200_000),
        "no table of text",
    ),
    "external link": ("so2sat", lambda f: band(f, external_link), "points elsewhere"),
    "external storage": ("so2sat", lambda f: band(f, external_storage), "points elsewhere"),
    "virtual dataset": ("so2sat", lambda f: band(f, virtual), "points elsewhere"),
    "group": ("so2sat", lambda f: band(f, lambda file, key: file.create_group(key)), "no array of this file"),
    "60,000 x 60,000": ("so2sat", lambda f: band(f, huge), "states 60000 x 60000 values, 14.4 GB"),
    "large chunk": ("so2sat", lambda f: band(f, chunk), "states 20000 x 20000 values"),
    "sample outside": ("so2sat", lambda f: partition(f, "../outside"), "expected names of samples, found '../outside'"),
    "nested partition": (
        "so2sat",
        lambda f: (f / "default_partition.json").write_text("[" * 100_000),
        "not valid JSON",
    ),
    "long number": (
        "so2sat",
        lambda f: (f / "default_partition.json").write_text(f'{{"train": [{"1" * 5000}]}}'),
        "not valid JSON",
    ),
}
OWN = {"folders": write_folders, "table": write_table, "masks": write_masks}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_quickly_and_in_little_memory(raw: Path, tmp_path: Path, name: str) -> None:
    dataset, change, expected = HOSTILE[name]
    folder = tmp_path / "raw" / dataset
    if dataset in OWN:
        OWN[dataset](folder)
    else:
        shutil.copytree(raw / dataset, folder)
    change(folder)
    message = within_limits(prepare, dataset if dataset in DATASETS else "own", folder, tmp_path / "store")
    assert message.startswith("refused: ")
    assert expected in message
    assert not (tmp_path / "store").exists()


def test_no_server_is_contacted(tmp_path: Path) -> None:
    """GDAL would read a URL in a VRT."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    write_folders(tmp_path / "own")
    address = f"/vsicurl/http://127.0.0.1:{server.server_port}/x.tif"
    source = f"<SimpleSource><SourceFilename>{address}</SourceFilename></SimpleSource>"
    text = f'<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="UInt16">{source}</VRTRasterBand>'
    (tmp_path / "own/field/field_3.tif").write_text(text + "</VRTDataset>")
    with pytest.raises(DeflectError, match=r"field_3\.tif"):
        prepare("own", tmp_path / "own", tmp_path / "store")
    server.shutdown()
    server.server_close()
    assert not requests


# ---------------------------------------------------------------------- archives, records, configuration


def test_a_header_of_3_gb_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as archive:
        archive.write(info.tobuf())
        archive.write(bytes(64 << 20))
    message = within_limits(unpack, tmp_path / "a.tar.gz", tmp_path / "out", SOURCE)
    assert "a.tar.gz: cannot be unpacked (a header of" in message


@pytest.mark.parametrize("name", ["SIMULATED.json", "manifest.json", "top/SIMULATED.json"])
def test_an_archive_cannot_contain_the_simulators_marker(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    message = within_limits(unpack, tmp_path / "a.tar", tmp_path / "out", SOURCE)
    assert "the name of a file that deflect writes" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xfe", "expected text in UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"seed": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (None, "expected a file, found a folder"),
    ],
    ids=["not UTF-8", "nested", "number", "folder"],
)
def test_a_damaged_record_is_one_line(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "so2sat/scale_mae/lora/seed0/record.json"
    path.parent.mkdir(parents=True)
    path.mkdir() if content is None else path.write_bytes(content)
    message = within_limits(load_study, tmp_path)
    assert message.startswith("refused: ")
    assert f"record.json: {expected}" in message


def test_a_name_cannot_end_in_a_line_break(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    variants = config["studies"]["mini"]["variants"]["settings"]
    variants["deflect+x\n"] = variants.pop("deflect+soft")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="expected a match of the pattern"):
        load(tmp_path / "config.yaml")


def test_every_change_of_a_sealed_file_is_detected(tmp_path: Path) -> None:
    """One flipped bit in the card of a store: it is refused, or was in white space or in the name of the seal."""
    write_folders(tmp_path / "own")
    prepare("own", tmp_path / "own", tmp_path / "store")
    path = tmp_path / "store/store.json"
    whole, good = path.read_bytes(), read_json(path)
    for place in np.random.default_rng(0).choice(8 * len(whole), 300, replace=False).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = read_json(path)
        except DeflectError:
            continue
        found.pop(next((key for key in found if key not in good), ""), None)
        assert found == good
