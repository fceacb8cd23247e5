"""Unpacking: hostile or damaged archives leave nothing, and a killed process leaves nothing that looks complete."""

from __future__ import annotations

import io
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from deflect.data import disk
from deflect.data.fetch.sources import Source
from deflect.data.fetch.unpack import unpack
from deflect.data.manifest import content_errors, read_manifest
from deflect.errors import DataError

SOURCE = Source("a", "https://example.org/a", version="7", unpacked_bytes=10_000, layout="geotiff")


def make_zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: list[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def refused(archive: Path, folder: Path, message: str, source: Source = SOURCE) -> None:
    with pytest.raises(DataError, match=message) as caught:
        unpack(archive, folder / "out", source)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == [archive.name], "files were left"


def tar_member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_files_are_unpacked_with_checksums(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a.bin", [("training/a.tif", b"1" * 100), ("validation/b.tif", b"")])
    unpack(archive, tmp_path / "out", SOURCE)
    assert (tmp_path / "out/training/a.tif").read_bytes() == b"1" * 100
    manifest = read_manifest(tmp_path / "out")
    assert manifest["layout"] == "geotiff"
    assert {name: facts["bytes"] for name, facts in manifest["files"].items()} == {
        "training/a.tif": 100,
        "validation/b.tif": 0,
    }
    assert content_errors(tmp_path / "out") == []


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_single_top_folder_is_removed(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a.bin", [("MADOS/splits/train_X.txt", b"x"), ("./MADOS/Scene_0/y.tif", b"y")])
    unpack(archive, tmp_path / "out", SOURCE)
    assert content_errors(tmp_path / "out") == []
    assert sorted(read_manifest(tmp_path / "out")["files"]) == ["Scene_0/y.tif", "splits/train_X.txt"]


def test_resource_forks_of_macos_are_skipped(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("M/a.tif", b"a"), ("__MACOSX/M/._a.tif", b"fork")])
    unpack(archive, tmp_path / "out", SOURCE)
    assert list(read_manifest(tmp_path / "out")["files"]) == ["a.tif"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\evil", "C:evil"])
def test_path_outside_the_folder_is_refused(tmp_path: Path, make, name: str) -> None:
    archive = make(tmp_path / "a.bin", [("good.tif", b"good"), (name, b"evil")])
    refused(archive, tmp_path, "would be written outside its folder")
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    "member",
    [
        tar_member("link", tarfile.SYMTYPE, "/etc/passwd"),
        tar_member("link", tarfile.SYMTYPE, "../../secret"),
        tar_member("link", tarfile.SYMTYPE, "good.tif"),
        tar_member("link", tarfile.LNKTYPE, "../../secret"),
        tar_member("device", tarfile.CHRTYPE),
        tar_member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.linkname}",
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", [("good.tif", b"good"), (member, b"")])
    refused(archive, tmp_path, "refused")


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(make_zip(tmp_path / "a.zip", [(link, b"/etc/passwd")]), tmp_path, "link is a link or a device")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_archive_that_expands_beyond_its_stated_size_is_refused(tmp_path: Path, make) -> None:
    archive = make(tmp_path / "a.bin", [(f"{i}.tif", bytes(8000)) for i in range(3)])
    refused(archive, tmp_path, r"expands beyond 15\.0 kB, more than in the catalog")


def test_zip_with_a_wrong_size_of_a_member_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a.tif", bytes(9000))])
    stored = archive.read_bytes()
    size, lie = (9000).to_bytes(4, "little"), (90).to_bytes(4, "little")
    assert stored.count(size) == 2
    archive.write_bytes(stored.replace(size, lie))
    refused(archive, tmp_path, "cannot be unpacked|stated by the archive")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_repeated_name_is_refused(tmp_path: Path, make) -> None:
    refused(make(tmp_path / "a.bin", [("a.tif", b"1"), ("./a.tif", b"2")]), tmp_path, "two members have the name a.tif")


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_truncated_archive_is_refused(tmp_path: Path, make, share: float) -> None:
    import random

    noise = random.Random(0).randbytes(4000)
    archive = make(tmp_path / "a.bin", [("a.tif", noise), ("b.tif", noise)])
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    refused(archive, tmp_path, "delete it and fetch again")


def test_damaged_member_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a.tif", b"abc" * 100)])
    stored = bytearray(archive.read_bytes())
    stored[40] ^= 0xFF
    archive.write_bytes(bytes(stored))
    refused(archive, tmp_path, "cannot be unpacked")


def test_disk_too_small(tmp_path: Path, monkeypatch) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a.tif", b"1")])
    usage = disk.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"1\.0 kB free"):
        unpack(archive, tmp_path / "out", SOURCE)
    assert not (tmp_path / "out").exists()


KILLED = """
import sys, time
from pathlib import Path
from deflect.data.fetch import unpack
from deflect.data.fetch.sources import Source
copy = unpack._copy
unpack._copy = lambda file, target: (time.sleep(0.05), copy(file, target))[1]
unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2]), Source("a", "", unpacked_bytes=10_000))
"""


def test_killed_in_the_middle_of_unpack(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [(f"top/{i}.tif", b"x" * 50) for i in range(60)])
    out, aside = tmp_path / "out", tmp_path / ".out.unpacking"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(archive), str(out)])
    deadline = time.monotonic() + 20
    while len(list(aside.rglob("*.tif"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 3 <= len(list(aside.rglob("*.tif"))) < 60
    assert not out.exists()
    unpack(archive, out, SOURCE)
    assert len(list(out.glob("*.tif"))) == 60
    assert content_errors(out) == []
    assert not aside.exists()
