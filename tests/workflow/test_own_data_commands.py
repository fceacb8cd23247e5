"""Commands for a user's own dataset: their messages, and that they never change its files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from own_data import image, write_folders, write_tiff
from paths import ROOT

from deflect.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``data/raw/fields``, part of the study; the folder of its class ``forest`` is a symbolic link."""
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["studies"]["mini"]["datasets"] = ["brick_kiln", "fields"]
    del config["studies"]["mini"]["variants"]
    Path("config.yaml").write_text(yaml.safe_dump(config))
    fields = Path("data/raw/fields")
    write_folders(fields)
    (fields / "forest").rename("elsewhere")
    (fields / "forest").symlink_to(tmp_path / "elsewhere")
    return fields


def test_verify_follows_links_and_does_not_advise_to_delete_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "verify", "fields"]) == 0
    assert "17 files" in capsys.readouterr().out
    write_tiff(folder / "forest/forest_0.tif", image(777, size=20))
    assert main(["data", "verify", "fields"]) == 2
    message = capsys.readouterr().err
    assert "forest_0.tif" in message
    assert "delete data/raw/fields/manifest.json" in message
    assert "fetch again" not in message


def test_simulating_own_data_names_the_missing_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "simulate", "fields"]) == 2
    assert "studies.mini.simulation.sizes: no sizes of 'fields'" in capsys.readouterr().err


def test_dataset_outside_the_study_is_refused_with_advice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folders(Path("data/raw/more"))
    assert main(["data", "prepare", "more"]) == 2
    assert (
        "known: so2sat, brick_kiln, forestnet, burn_scars, mados, bigearthnet, fields; add" in capsys.readouterr().err
    )
