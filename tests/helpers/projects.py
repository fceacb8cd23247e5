"""Copies of the project with a small study, and commands run in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from paths import ROOT

PARTS = ["Snakefile", "config.yaml", "dvc.yaml", ".dvc", ".dvcignore", ".gitignore", "src", "workflow", "notebooks"]
PARTS += ["profiles", "references", "data/raw/README.md", "pyproject.toml", "requirements.lock", "CITATION.cff"]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that finds the programs of this Python first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"PATH": path} | changes


def run(project: Path, *command: str, expect: int = 0, **changes: str) -> str:
    """Run a command in the project, with changes of the environment; returns its output."""
    done = subprocess.run(command, cwd=project, env=environment(**changes), capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == expect, text
    return text


def change(project: Path, edit) -> None:
    """Edit the project's config.yaml as a dictionary."""
    path = project / "config.yaml"
    config = yaml.safe_load(path.read_text())
    edit(config)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def small(config: dict) -> None:
    """Two datasets, one GFM, three methods and two epochs, enough for every rule to run."""
    mini = config["studies"]["mini"]
    mini |= {"datasets": ["brick_kiln", "burn_scars"], "gfms": ["scale_mae"], "methods": ["deflect", "lora", "frozen"]}
    mini["simulation"] |= {"rgb_images": 16, "rgb_pixels": 32}
    mini["simulation"]["sizes"]["brick_kiln"] = {"train": 16, "val": 8, "test": 8}
    mini["simulation"]["sizes"]["burn_scars"] = {"train": 18, "val": 2, "test": 4, "pixels": 64}
    mini["pretraining"] = {"steps": 2, "batch_size": 8}
    mini["training"].pop("mados")
    for task in mini["training"].values():
        task["epochs"] = 2
    mini.pop("variants", None)


def copy_project(folder: Path) -> Path:
    """A copy of the project with a small study that has not run."""
    ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "*.local")
    for part in PARTS:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target, ignore=ignored)
        else:
            shutil.copy(ROOT / part, target)
    change(folder, small)
    return folder
