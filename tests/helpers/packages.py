"""The wheel and the source package of the working tree, and environments to install them into."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

#: The packages of this environment must not be found in another.
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("DEFLECT", "PYTHON", "VIRTUAL_ENV"))}
UV = str(Path(sys.executable).with_name("uv"))


def build(folder: Path, project: Path = ROOT) -> tuple[Path, Path]:
    """Build both packages of a project into ``folder``; returns wheel and source package."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--target", "sdist"]
    subprocess.run([*command, "--directory", folder], cwd=project, check=True, capture_output=True)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def interpreter(version: str) -> str:
    """A Python of this version, e.g. "3.12"; the test is skipped where there is none."""
    places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")]
    for place in filter(None, places):
        done = subprocess.run([place, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True)
        if done.stdout.decode().strip() == version:  # pyenv has programs that only say that they are not active
            return str(place)
    pytest.skip(f"no Python {version} on this machine")


def empty_environment(folder: Path, version: str) -> Path:
    """Make an environment without packages, not even pip; returns its Python."""
    subprocess.run([UV, "venv", "--quiet", "--python", interpreter(version), folder], check=True)
    return folder / "bin/python"


def install(python: Path, *requirements: str | Path, **options: str | Path) -> None:
    """Install by uv, which keeps downloads, into an environment."""
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", python, *requirements], check=True, env=CLEAN, **options
    )
