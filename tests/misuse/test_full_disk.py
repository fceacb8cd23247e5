"""A full disk or a read-only folder gives one line and loses nothing finished; with room again, the bytes are the same.

The disk is a small tmpfs; these tests are skipped without the right to mount.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from loopback import serve
from tiny_store import tiny_spec

from deflect.data import disk
from deflect.data.fetch.file import fetch_file
from deflect.data.fetch.sources import Source
from deflect.data.fetch.unpack import unpack
from deflect.data.prepare import prepare
from deflect.data.simulate import simulate
from deflect.errors import DeflectError, one_line
from deflect.files import atomic_path, sha256_file
from deflect.gfms import build, card_of, gfm_card
from deflect.gfms.convert import save_weights
from deflect.settings.simulation import SimulationSize
from deflect.training.run import train

MILLION = hashlib.sha256(b"a" * 1_000_000).hexdigest()
#: Files that contain times.
VARYING = ("record.json", "history.csv", ".locks", ".made_from")


def mount(*options: str) -> bool:
    return subprocess.run(["mount", *options], capture_output=True).returncode == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or not mount("-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)):
        pytest.skip("no right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files, an archive of them, and a store of a run."""
    root = tmp_path_factory.mktemp("source")
    simulate("so2sat", root / "so2sat", SimulationSize(train=6, val=3, test=3), seed=0)
    plain = shutil.copytree(root / "so2sat", root / "published", ignore=shutil.ignore_patterns("SIMULATED.json"))
    shutil.make_archive(str(root / "so2sat"), "zip", plain)
    train(tiny_spec(root, "segmentation", "deflect", upernet_channels=32, epochs=2))
    return root


def prepares(source: Path, out: Path) -> None:
    prepare("so2sat", source / "so2sat", out / "store")


def trains(source: Path, out: Path) -> None:
    spec = tiny_spec(source, "segmentation", "deflect", upernet_channels=32, epochs=2)
    train(replace(spec, out=out / "seed0"))


def unpacks(source: Path, out: Path) -> None:
    size = sum(path.stat().st_size for path in (source / "so2sat").iterdir())
    unpack(source / "so2sat.zip", out / "so2sat", Source("a", "", unpacked_bytes=size))


def fetches(_source: Path, out: Path) -> None:
    with serve() as site:
        fetch_file(Source("so2sat.zip", site.put("a", b"a" * 1_000_000), sha256=MILLION), out)


def converts(source: Path, out: Path) -> None:
    torch.manual_seed(0)
    gfm = build(gfm_card("scale_mae", "mini"))
    save_weights(gfm.state_dict(), card_of(gfm), out / "weights.safetensors", {})


def summarises(source: Path, out: Path) -> None:
    """A file that is written atomically, as tables, figures and pages are."""
    with atomic_path(out / "page.html") as aside:
        aside.write_text("a" * 1_000_000)


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and not set(path.parts) & set(VARYING))
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def error_of(step: Callable[[Path, Path], None], source: Path, out: Path) -> str:
    """The line that is printed."""
    with pytest.raises((DeflectError, OSError)) as error:
        step(source, out)
    return one_line(error.value)  # type: ignore[arg-type]


@pytest.mark.parametrize("checked", [True, False], ids=["checked before", "found while writing"])
@pytest.mark.parametrize("step", [prepares, trains, unpacks, fetches, converts, summarises])
def test_a_full_disk(
    small: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Callable, checked: bool
) -> None:
    if not checked:
        monkeypatch.setattr(disk, "RESERVE", -(1 << 60))
    line = error_of(step, source, small)
    assert "\n" not in line
    assert "room" in line
    assert str(small) in line
    names = {path.name for path in small.iterdir()} | {path.name for path in small.glob("seed0/*")}
    assert not names & {"store", "record.json", "so2sat", "so2sat.zip", "weights.json"}
    monkeypatch.setattr(disk, "RESERVE", 0)
    assert mount("-o", "remount,size=50m", str(small))
    step(source, small)
    step(source, tmp_path / "elsewhere")
    assert content(small) == content(tmp_path / "elsewhere")


@pytest.mark.parametrize("step", [prepares, trains, unpacks, fetches, converts])
def test_a_read_only_folder(
    small: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Callable
) -> None:
    monkeypatch.setattr(disk, "RESERVE", 0)
    assert mount("-o", "remount,size=50m,ro", str(small))
    line = error_of(step, source, small)
    assert "\n" not in line
    assert "read-only file system; change its permissions" in line
    assert mount("-o", "remount,rw", str(small))
    step(source, small)
    step(source, tmp_path / "elsewhere")
    assert content(small) == content(tmp_path / "elsewhere")
