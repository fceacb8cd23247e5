"""Fetching datasets: a folder of raw data is whole and verified, or not there; status says which."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deflect.cli import main
from deflect.data import disk, fetch
from deflect.data.catalog import DATASETS
from deflect.data.disk import DiskFullError, human
from deflect.data.download import Patience
from deflect.data.fetch_file import FetchError
from deflect.data.sources import Source
from deflect.data.status import status, status_table, verify
from loopback import Site, serve

CONTENT = bytes(range(256)) * 4096  # 1 MiB
HASTY = Patience(retries=1, pause=0.01, longest_pause=0.02, timeout=5)


@pytest.fixture
def site():
    with serve() as site:
        yield site


def zipped(names: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return memory.getvalue()


@pytest.fixture
def published(site: Site, monkeypatch):
    """MADOS as a zip and So2Sat in two layouts, all on the loopback site."""
    archive = zipped({"MADOS/splits/train_X.txt": b"Scene_0_1\n", "MADOS/Scene_0/10/x.tif": CONTENT})
    mados = Source(
        "MADOS.zip", site.put("MADOS.zip", archive), bytes=len(archive), unpacked_bytes=2 << 20, layout="geotiff"
    )
    shard, split = CONTENT[:5000], b'{"train": []}'
    so2sat = (
        Source("m/shard_0.tar", site.put("s0", shard), sha256=hashlib.sha256(shard).hexdigest(), layout="webdataset"),
        Source("m/default_partition.json", site.put("split", split), layout="webdataset"),
        Source("m.zip", site.put("m.zip", zipped({"m/a.hdf5": b"hdf"})), unpacked_bytes=1000, layout="hdf5"),
    )
    sheets = DATASETS | {
        "mados": replace(DATASETS["mados"], sources=(mados,)),
        "so2sat": replace(DATASETS["so2sat"], sources=so2sat),
    }
    for module in ("fetch", "status"):
        monkeypatch.setattr(f"deflect.data.{module}.dataset_sheet", sheets.__getitem__)
    return site


def fetch_quickly(name: str, raw: Path, **settings) -> Path:
    return fetch.fetch(name, raw, progress=False, patience=HASTY, **settings)


def test_dataset_appears_whole_with_its_manifest(published: Site, tmp_path: Path) -> None:
    folder = fetch_quickly("mados", tmp_path)
    assert (folder / "Scene_0/10/x.tif").read_bytes() == CONTENT
    assert (folder / "splits/train_X.txt").exists(), "the single top folder is left out"
    assert verify("mados", tmp_path) == "mados: 2 files, 1.0 MB, all as recorded"
    assert (tmp_path / "archives/MADOS.zip").exists()
    assert fetch_quickly("mados", tmp_path) == folder
    assert len(published.log) == 1


def test_shards_are_used_as_they_are(published: Site, tmp_path: Path) -> None:
    folder = fetch_quickly("so2sat", tmp_path)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["default_partition.json", "manifest.json", "shard_0.tar"]
    assert verify("so2sat", tmp_path).endswith("2 files, 5.0 kB, all as recorded")
    with pytest.raises(FetchError, match="holds layout webdataset, hdf5 is asked for"):
        fetch_quickly("so2sat", tmp_path, layout="hdf5")


def test_one_missing_shard_keeps_the_dataset_away(published: Site, tmp_path: Path) -> None:
    del published.files["split"]
    with pytest.raises(FetchError, match="default_partition"):
        fetch_quickly("so2sat", tmp_path)
    assert not (tmp_path / "so2sat").exists()
    assert status(tmp_path, tmp_path, "paper")[0].raw == "1 of 2 files"


def test_archive_placed_by_hand_decides_the_layout(published: Site, tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/m.zip").write_bytes(published.files["m.zip"])
    folder = fetch_quickly("so2sat", tmp_path, keep_archive=False)
    assert (folder / "a.hdf5").read_bytes() == b"hdf"
    assert published.log == []
    assert not (tmp_path / "archives/m.zip").exists()


def test_room_for_unpacking_is_asked_for_before_the_download(published: Site, tmp_path: Path, monkeypatch) -> None:
    usage = disk.shutil.disk_usage(tmp_path)._replace(free=disk.RESERVE + (1 << 20))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError):
        fetch_quickly("mados", tmp_path)
    assert published.log == []


def test_verify_names_what_changed(published: Site, tmp_path: Path) -> None:
    folder = fetch_quickly("mados", tmp_path)
    image = folder / "Scene_0/10/x.tif"
    image.write_bytes(b"?" + CONTENT[1:])
    with pytest.raises(FetchError, match=rf"1 of 2 files are wrong: {image}: sha256 .* another found.*fetch again"):
        verify("mados", tmp_path)
    image.unlink()
    with pytest.raises(FetchError, match=rf"{image}: missing"):
        verify("mados", tmp_path)
    assert status(tmp_path, tmp_path, "paper")[-1].verified == "1 wrong"
    with pytest.raises(FetchError, match="run `deflect data fetch forestnet`"):
        verify("forestnet", tmp_path)


def test_folder_placed_by_hand_is_recorded_by_verify(published: Site, tmp_path: Path) -> None:
    (tmp_path / "forestnet").mkdir()
    (tmp_path / "forestnet/a.hdf5").write_bytes(b"1")
    assert fetch_quickly("forestnet", tmp_path) == tmp_path / "forestnet"
    assert status(tmp_path, tmp_path, "paper")[2].raw == "by hand"
    assert "checksums recorded now" in verify("forestnet", tmp_path)
    assert status(tmp_path, tmp_path, "paper")[2].verified == "recorded"
    (tmp_path / "forestnet/a.hdf5").write_bytes(b"2")
    with pytest.raises(FetchError, match="1 of 1 files are wrong"):
        verify("forestnet", tmp_path)


def test_status_names_the_next_command(published: Site, tmp_path: Path) -> None:
    raw, prepared = tmp_path / "raw", tmp_path / "prepared"
    fetch_quickly("mados", raw)
    fetch_quickly("so2sat", raw)
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
        "peat": "deflect data prepare peat",
    }
    assert (rows["mados"].raw, rows["mados"].verified, rows["peat"].raw) == ("geotiff", "yes", "own")
    table = status_table(raw, prepared, "paper").splitlines()
    assert table[0].split() == ["dataset", "raw", "verified", "prepared", "size", "next"]
    assert len(table) == 8
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
    config = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())
    config["studies"]["paper"]["keep_archives"] = keep
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    assert main(["--study", "paper", "data", "fetch", "mados"]) == 0
    assert Path("data/raw/archives/MADOS.zip").exists() is keep
    assert "study paper takes about 8" in caplog.text, "what is needed is told before the first download"
    caplog.clear()
    assert main(["--study", "paper", "data", "fetch", "mados"]) == 0
    assert "takes about" not in caplog.text
