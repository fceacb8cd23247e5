"""Wheel and source package: accepted by twine, complete, and without anything else."""

from __future__ import annotations

import re
import subprocess
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packages import build
from page_code import python_blocks
from paths import ROOT

import deflect

TWINE = ROOT / ".venv/standards/bin/twine"
NAME = f"deflect_gfm-{deflect.__version__}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def metadata(packages: tuple[Path, Path]) -> Message:
    return Parser().parsestr(zipfile.ZipFile(packages[0]).read(f"{NAME}.dist-info/METADATA").decode())


def listed(*options: str) -> set[str]:
    """Files of the project, by git."""
    return set(subprocess.check_output(["git", "ls-files", *options], cwd=ROOT, text=True).splitlines())


def test_twine_accepts_both(packages: tuple[Path, Path]) -> None:
    done = subprocess.run([TWINE, "check", "--strict", *packages], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_has_every_file_of_the_library_and_nothing_else(packages: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(packages[0]).namelist())
    library = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/deflect").rglob("*") if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {n for n in library if "__pycache__" not in n}
    assert {"deflect/py.typed", "deflect/data/catalog.yaml", "deflect/gfms/cards.yaml"} <= names
    assert f"{NAME}.dist-info/licenses/LICENSE" in names


def test_the_source_package_has_the_projects_files_and_no_data_or_results(packages: tuple[Path, Path]) -> None:
    with tarfile.open(packages[1]) as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    tracked = {name for name in listed() if (ROOT / name).is_file() and not name.startswith(".ci/")}
    linked = {"profiles/default/profile.yaml"}  # without it a bare `snakemake` stops
    assert tracked | linked <= names
    assert names - tracked - linked - {"PKG-INFO"} <= listed("--others", "--exclude-standard"), (
        "only what git does not ignore"
    )
    kept = {name for name in names if name.startswith(("data/", "weights/", "results/", ".venv", ".git/"))}
    assert all(name == "data/raw/README.md" or name.endswith(".dvc") for name in kept)


def test_the_source_package_builds_the_same_wheel(packages: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, source = packages
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    again, _ = build(tmp_path / "dist", tmp_path / NAME)
    assert again.read_bytes() == wheel.read_bytes()


def test_metadata_say_what_it_is_and_who_made_it(metadata: Message) -> None:
    assert metadata["Name"] == "deflect-gfm"
    assert metadata["Version"] == deflect.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    for field in ("Summary", "Author", "Keywords", "Classifier", "Project-URL"):
        assert metadata[field], field


def test_the_readme_of_the_packages_has_no_link_into_the_project(metadata: Message) -> None:
    """On PyPI there are no docs/ to link to, and no pictures."""
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "![" not in text
    assert all(block in text for block in python_blocks("README.md"))
