"""A folder of raw data is complete and verified or does not exist; the status shows which."""

from __future__ import annotations

import io
import logging
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from loopback import Site
from paths import ROOT

from deflect.cli import main
from deflect.data import disk
from deflect.data.catalog import DATASETS
from deflect.data.disk import human
from deflect.data.fetch import download
from deflect.data.fetch.dataset import fetch, verify
from deflect.data.fetch.sources import Source
from deflect.data.fetch.status import status, status_table
from deflect.errors import DataError, DownloadError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


def zipped(names: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return memory.getvalue()


@pytest.fixture
def published(site: Site, monkeypatch):
    """MADOS and So2Sat on the loopback site."""
    archive = zipped({"MADOS/splits/train_X.txt": b"Scene_0_1\n", "MADOS/Scene_0/10/x.tif": CONTENT})
    mados = Source(
        "MADOS.zip", site.put("MADOS.zip", archive), bytes=len(archive), unpacked_bytes=2 << 20, layout="geotiff"
    )
    so2sat = Source("m.zip", site.put("m.zip", zipped({"m/a.hdf5": b"hdf"})), unpacked_bytes=1000, layout="hdf5")
    sheets = DATASETS | {
        "mados": replace(DATASETS["mados"], source=mados),
        "so2sat": replace(DATASETS["so2sat"], source=so2sat),
    }
    for module in ("dataset", "status"):
        monkeypatch.setattr(f"deflect.data.fetch.{module}.dataset_sheet", sheets.__getitem__)
    for setting, value in {"RETRIES": 1, "PAUSE": 0.01, "LONGEST_PAUSE": 0.02, "TIMEOUT": 5.0}.items():
        monkeypatch.setattr(download, setting, value)
    return site


def test_dataset_is_complete_with_a_manifest(published: Site, tmp_path: Path) -> None:
    folder = fetch("mados", tmp_path)
    assert (folder / "Scene_0/10/x.tif").read_bytes() == CONTENT
    assert (folder / "splits/train_X.txt").exists(), "the single top folder is removed"
    assert verify("mados", tmp_path) == "mados: 2 files, 1.0 MB, all as recorded"
    assert (tmp_path / "archives/MADOS.zip").exists()
    assert fetch("mados", tmp_path) == folder
    assert len(published.log) == 1


def test_a_dataset_is_missing_until_it_is_unpacked(published: Site, tmp_path: Path) -> None:
    assert status(tmp_path, tmp_path, "paper")[0].raw == "no"
    published.put("m.zip", b"not an archive", "cut", *["500"] * 9)
    with pytest.raises(DownloadError, match=r"m\.zip"):
        fetch("so2sat", tmp_path)
    assert status(tmp_path, tmp_path, "paper")[0].raw == "7 B so far"
    published.put("m.zip", b"not an archive")
    with pytest.raises(DataError, match=r"m\.zip"):
        fetch("so2sat", tmp_path)
    assert status(tmp_path, tmp_path, "paper")[0].raw == "archive only"
    assert not (tmp_path / "so2sat").exists()


def test_archive_placed_by_hand_is_used(published: Site, tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/m.zip").write_bytes(published.files["m.zip"])
    folder = fetch("so2sat", tmp_path, keep_archive=False)
    assert (folder / "a.hdf5").read_bytes() == b"hdf"
    assert published.log == []
    assert not (tmp_path / "archives/m.zip").exists()


def test_room_for_unpacking_is_checked_before_the_download(published: Site, tmp_path: Path, monkeypatch) -> None:
    usage = disk.shutil.disk_usage(tmp_path)._replace(free=disk.RESERVE + (1 << 20))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError):
        fetch("mados", tmp_path)
    assert published.log == []


def test_verify_names_changed_files(published: Site, tmp_path: Path) -> None:
    folder = fetch("mados", tmp_path)
    image = folder / "Scene_0/10/x.tif"
    image.write_bytes(b"?" + CONTENT[1:])
    with pytest.raises(DownloadError, match=rf"1 of 2 files are wrong: {image}: sha256 .* another found.*fetch again"):
        verify("mados", tmp_path)
    image.unlink()
    with pytest.raises(DownloadError, match=rf"{image}: missing"):
        verify("mados", tmp_path)
    verified = {row.dataset: row.verified for row in status(tmp_path, tmp_path, "paper")}
    assert verified["mados"] == "1 wrong"
    with pytest.raises(DownloadError, match="run `deflect data fetch forestnet`"):
        verify("forestnet", tmp_path)


def test_a_log_shows_the_progress_of_unpacking_and_verifying(
    published: Site, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("deflect.progress.PAUSE", 0.0)
    folder = fetch("mados", tmp_path)
    assert "\nunpacking MADOS.zip: 1.05M of 2.10M B in 00:00" in capsys.readouterr().err
    verify("mados", tmp_path)
    assert f"\nreading {folder}: 1.05M of 1.05M B in 00:00" in capsys.readouterr().err


def test_folder_placed_by_hand_is_recorded_by_verify(published: Site, tmp_path: Path) -> None:
    (tmp_path / "forestnet").mkdir()
    (tmp_path / "forestnet/a.hdf5").write_bytes(b"1")
    assert fetch("forestnet", tmp_path) == tmp_path / "forestnet"
    assert status(tmp_path, tmp_path, "paper")[2].raw == "by hand"
    assert "checksums recorded now" in verify("forestnet", tmp_path)
    assert status(tmp_path, tmp_path, "paper")[2].verified == "recorded"
    (tmp_path / "forestnet/a.hdf5").write_bytes(b"2")
    with pytest.raises(DownloadError, match="1 of 1 files are wrong"):
        verify("forestnet", tmp_path)


def test_status_names_the_next_command(published: Site, tmp_path: Path) -> None:
    raw, prepared = tmp_path / "raw", tmp_path / "prepared"
    fetch("mados", raw)
    fetch("so2sat", raw)
    (prepared / "paper/so2sat").mkdir(parents=True)
    (prepared / "paper/so2sat/store.json").write_text("{}")
    (raw / "peat").mkdir()
    (raw / "peat/card.yaml").write_text("task: segmentation\n")
    rows = {row.dataset: row for row in status(raw, prepared, "paper")}
    assert {name: row.next for name, row in rows.items()} == {
        "so2sat": "",
        "brick_kiln": "deflect data fetch brick_kiln",
        "forestnet": "deflect data fetch forestnet",
        "burn_scars": "deflect data fetch burn_scars",
        "mados": "deflect data prepare mados",
        "bigearthnet": "deflect data fetch bigearthnet",
        "peat": "deflect data prepare peat",
    }
    assert (rows["mados"].raw, rows["mados"].verified, rows["peat"].raw) == ("geotiff", "yes", "own")
    table = status_table(raw, prepared, "paper").splitlines()
    assert table[0].split() == ["dataset", "raw", "verified", "prepared", "size", "next"]
    assert len(table) == 9
    archives = [path for path in (raw / "archives").rglob("*") if path.is_file()]
    assert table[-1] == f"archives in {raw / 'archives'}: {human(sum(path.stat().st_size for path in archives))}"
    (raw / ".forestnet.unpacking").mkdir()
    (raw / ".forestnet.unpacking/a").write_bytes(b"1" * 1500)
    (raw / "archives/.MADOS.zip.part").write_bytes(b"1" * 1000)
    left = status_table(raw, prepared, "paper").splitlines()
    assert left[-2] == table[-1]
    assert left[-1] == "unfinished downloads, unpacking and preparing: 2.5 kB"
    mini = {row.dataset: row for row in status(raw, prepared, "mini", simulated_root=tmp_path / "simulated")}
    assert mini["mados"].next == "deflect data simulate mados"
    assert mini["peat"].next == "deflect data prepare peat", "a user's own dataset is real in every study"


@pytest.mark.parametrize("keep", [True, False])
def test_a_study_may_keep_no_archives(
    published: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["studies"]["paper"]["keep_archives"] = keep
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    assert main(["--study", "paper", "data", "fetch", "mados"]) == 0
    assert Path("data/raw/archives/MADOS.zip").exists() is keep
    assert "study paper takes about 8" in caplog.text, "the needed space is logged before the first download"
    caplog.clear()
    assert main(["--study", "paper", "data", "fetch", "mados"]) == 0
    assert "takes about" not in caplog.text
