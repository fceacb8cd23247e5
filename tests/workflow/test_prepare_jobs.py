"""Jobs of Snakemake that prepare one dataset side by side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from own_data import image, write_folders, write_tiff
from projects import change, copy_project, run

from deflect.data.prepare import prepare
from deflect.data.store import Store

STORE = "data/prepared/mini/fields/store.json"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A study with a dataset of three shards and two jobs that prepare it."""
    folder = copy_project(tmp_path / "project")

    def edit(config: dict) -> None:
        config["studies"]["mini"] |= {"datasets": ["fields"], "prepare_jobs": 2}

    change(folder, edit)
    write_folders(folder / "data/raw/fields")
    return folder


def planned(project: Path) -> list[str]:
    return sorted(re.findall(r"^Job \d+: (prepare .*)", run(project, "snakemake", "-n", STORE), re.MULTILINE))


def test_jobs_prepare_parts_and_one_finishes_the_store(project: Path) -> None:
    parts = [f"prepare fields, part {part} of 2" for part in (1, 2)]
    run(project, "snakemake", "--cores", "2", STORE)
    assert planned(project) == []
    store = Store(project / "data/prepared/mini/fields")
    store.verify()
    assert store.card == prepare("fields", project / "data/raw/fields", project / "alone")
    assert not list((project / "data/prepared/mini").glob(".fields.*.part"))
    logs = project / "results/logs/prepare/mini"
    assert {path.name for path in logs.iterdir()} == {"fields.1.log", "fields.2.log", "fields.log"}
    write_tiff(project / "data/raw/fields/field/field_0.tif", image(999))
    assert planned(project) == ["prepare fields", *parts]
