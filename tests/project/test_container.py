"""The Containerfile: what it copies exists, and the image gets what git tracks and nothing that is large."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml
from paths import ROOT
from projects import copy_project, environment

#: Instructions of the Containerfile with their continued lines joined, without comments.
TEXT = re.sub(r"^\s*#.*\n", "", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
STEPS = [tuple(line.split(maxsplit=1)) for line in TEXT.splitlines() if line]


def arguments(instruction: str) -> list[str]:
    return [" ".join(words.split()) for name, words in STEPS if name == instruction]


def test_it_installs_the_lock_with_hashes_before_the_code_is_copied() -> None:
    names = [f"{name} {words}" for name, words in STEPS]
    lock = next(place for place, step in enumerate(names) if "--require-hashes -r requirements.lock" in step)
    assert "COPY requirements.lock ./" in names[:lock]
    assert names.index("COPY . .") > lock
    assert "--no-deps --no-build-isolation -e ." in names[names.index("COPY . .") + 1]


def test_what_it_copies_exists() -> None:
    sources = [source for words in arguments("COPY") for source in words.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)


def test_its_entry_plans_a_study_in_another_folder(tmp_path: Path) -> None:
    """With the project at the place of the image's."""
    project, study = copy_project(tmp_path / "project"), tmp_path / "study"
    study.mkdir()
    entry = [word.replace("/deflect", str(project)) for word in yaml.safe_load(arguments("ENTRYPOINT")[0])]
    done = subprocess.run([*entry, "-n"], cwd=study, env=environment(HOME="/tmp"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "This was a dry-run" in done.stdout + done.stderr


def test_the_image_has_no_data_results_or_environment() -> None:
    """And everything tracked, or git would call the code of every run changed."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".venv", "results", "weights", "data/*", "data/raw/*", "!data/raw/README.md"} <= set(ignored)
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    plain = [line for line in ignored if line and line[0] not in "#!*" and not line.endswith("*")]
    assert not [name for name in tracked if any(name == line or name.startswith(f"{line}/") for line in plain)]
    assert ".git" not in ignored
