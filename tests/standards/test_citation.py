"""CITATION.cff is valid and agrees with the package."""

from __future__ import annotations

import subprocess
import tomllib
from datetime import date

import yaml
from paths import ROOT

import deflect

CFFCONVERT = ROOT / ".venv/standards/bin/cffconvert"
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_cffconvert_accepts_it() -> None:
    """Its schema is part of cffconvert, so no network is needed."""
    done = subprocess.run([CFFCONVERT, "--validate"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid according to schema version 1.2.0" in done.stdout


def test_it_cites_this_version_as_the_packages_do() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CITATION["version"] == deflect.__version__
    assert CITATION["license"] == project["license"]
    assert CITATION["keywords"] == sorted(project["keywords"])
    assert [author["name"] for author in CITATION["authors"]] == [author["name"] for author in project["authors"]]
    assert date(2026, 11, 1) < CITATION["date-released"] <= date.today()
    assert CITATION["abstract"]


def test_it_cites_the_paper() -> None:
    (paper,) = CITATION["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Thoreau", "Marsocci", "Derksen"]
    assert paper["identifiers"][0]["value"] == "arXiv:2503.09493"
    assert paper["url"].endswith("2503.09493")
