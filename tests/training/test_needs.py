"""Estimated disk space and downloads of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from paths import ROOT
from tiny_store import BANDS, tiny_spec

from deflect.config import load
from deflect.data.catalog import DATASETS
from deflect.methods import parameter_report
from deflect.methods.report import published_model
from deflect.settings.study import Config
from deflect.training import needs
from deflect.training.run import train

GB = 1e9


@pytest.fixture(scope="module")
def paper() -> Config:
    return load(ROOT / "config.yaml", "paper")


def test_needs_of_the_paper_study_equal_those_computed_by_hand(paper: Config) -> None:
    """22 GB of stores are images x bands x pixels x bytes; the rest follows from files and models."""
    found = needs.disk_needs(paper)
    by_hand = 21_964 * 10 * 32**2 * 4 + 17_061 * 10 * 64**2 * 4 + 8_446 * 6 * 332**2
    by_hand += 804 * (6 * 4 + 1) * 512**2 + 2_803 * (11 * 4 + 1) * 240**2
    assert found["prepared data"] == pytest.approx(by_hand, rel=1e-3)
    assert found["downloads and unpacked files"] == pytest.approx(33.4 * GB, rel=0.01)
    assert found["checkpoint of the largest run"] == pytest.approx(4 * 303e6 * 4, rel=0.01)
    archives = 2_200_000_000 + 7_500_000_000 + 6_200_000_000 + 2_645_552_531 + 4_038_418_740
    assert needs.download_bytes(paper)[0] == archives


def test_weights_of_one_seed_take_a_third(paper: Config) -> None:
    everything = Config(paper.study.model_copy(update={"keep_weights": "all"}), paper.methods, paper.wandb)
    kept, all_of_them = (needs.disk_needs(config)["runs"] for config in (paper, everything))
    assert 60 * GB < all_of_them < 70 * GB
    assert kept == pytest.approx(all_of_them / 3, rel=0.05)


def test_a_simulated_study_needs_little(paper: Config) -> None:
    mini = load(ROOT / "config.yaml", "mini")
    assert sum(needs.disk_needs(mini).values()) < 0.01 * GB
    assert needs.download_bytes(mini) == (0, 0)
    assert "less than 1 GB" in needs.needs_line(mini)


@pytest.mark.parametrize("method", ["lora", "late_fusion", "full"])
def test_the_size_of_a_run_is_that_of_its_files(tmp_path: Path, method: str) -> None:
    spec = tiny_spec(tmp_path, "segmentation", method, epochs=1)
    train(spec)
    adapter, head = ((spec.out / f"{name}.safetensors").stat().st_size for name in ("adapter", "head"))
    adapted = published_model(method, {}, "scale_mae", BANDS, size="mini")
    assert adapter == pytest.approx(4 * parameter_report(adapted).tuned_params, rel=0.1)
    assert head == pytest.approx(4 * needs._head("segmentation", adapted, 3, 8), rel=0.3)
    small = sum(path.stat().st_size for path in spec.out.iterdir()) - adapter - head
    assert small < needs.SMALL_FILES


def test_evaluating_a_run_without_weights_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from deflect.cli import main

    spec = replace(tiny_spec(tmp_path, epochs=1), keep_weights=False)
    train(replace(spec, keep_weights=True))
    train(replace(spec, seed=1))  # into the same folder: nothing of the older run stays
    names = {path.name for path in spec.out.iterdir()}
    assert names == {"record.json", "history.csv", "predictions.npz"}
    assert main(["evaluate", str(spec.out)]) == 1
    assert "kept no weights; train it again with `keep_weights: all`" in capsys.readouterr().err
    deflected = tiny_spec(tmp_path / "other", method="deflect", epochs=1)
    train(replace(deflected, keep_weights=False))
    assert (deflected.out / "adapter.safetensors").exists(), "a figure reads it"


def test_catalog_has_the_size_of_every_dataset() -> None:
    assert all(needs.raw_bytes(sheet) > GB for sheet in DATASETS.values())
