"""The fingerprint of a step changes with the code that decides its result, and with no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deflect import fingerprint
from deflect.fingerprint import PACKAGE, STEPS, code_sha256, deciding, is_in

#: Modules that every step may import and no result depends on. The values of settings are part of the fingerprint.
PLUMBING = """
    *__init__.py config.py errors.py files.py fingerprint.py progress.py workflow.py
    settings/fields.py settings/reading.py settings/study.py settings/tuning.py"""
#: Modules of other steps that a step imports for names of files, checks and file formats.
BORROWED = {
    "prepare": "data/fetch/sources.py data/simulate settings/simulation.py",
    "duplicates": "bands.py data/card.py data/store.py record.py settings",
    "pretrain": "settings/methods.py settings/simulation.py settings/training.py",
    "train": "composite.py data/disk.py record.py",
}
MODULES = {
    "simulate": "deflect.data.simulate",
    "prepare": "deflect.data.prepare",
    "pretrain": "deflect.gfms.pretrain",
    "duplicates": "deflect.data.duplicates",
    "convert": "deflect.gfms.convert, deflect.gfms.verify",
    "train": "deflect.training.run",
}


@pytest.mark.parametrize("step", STEPS)
def test_listed_files_and_folders_exist(step: str) -> None:
    names = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*")]
    for pattern in STEPS[step].split():
        assert any(is_in(name, pattern.lstrip("!")) for name in names), pattern


@pytest.mark.parametrize("step", MODULES)
def test_every_module_that_a_step_imports_is_listed_as_deciding_or_not(step: str) -> None:
    code = f"import sys, {MODULES[step]}; print(*[m.__file__ for m in sys.modules.values() if 'deflect' in m.__name__])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    files = [Path(name) for name in done.stdout.split()]
    imported = {path.relative_to(PACKAGE).as_posix() for path in files if path.is_relative_to(PACKAGE)}
    known = [pattern.lstrip("!") for pattern in f"{STEPS[step]} {PLUMBING} {BORROWED.get(step, '')}".split()]
    assert not [name for name in imported if not any(is_in(name, pattern) for pattern in known)]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, whose fingerprints are computed."""
    copy = shutil.copytree(PACKAGE, tmp_path / "deflect", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    return copy


def fingerprints() -> dict[str, str]:
    return {step: code_sha256.__wrapped__(step) for step in STEPS}


CHANGES = {
    "bands.py": {"simulate", "prepare", "train"},
    "data/simulate/so2sat.py": {"simulate"},
    "data/catalog.yaml": {"prepare", "report"},
    "data/duplicates.py": {"duplicates"},
    "checking/facts.py": {"check"},
    "data/readers/mados.py": {"prepare"},
    "gfms/vit.py": {"pretrain", "convert", "train"},
    "gfms/pretrain.py": {"pretrain"},
    "gfms/verify.py": {"convert"},
    "gfms/cards.yaml": {"pretrain", "convert", "train"},
    "methods/lora.py": {"train"},
    "settings/training.py": {"train"},
    "training/loop.py": {"train"},
    "training/search.py": {"tune"},
    "analysis/tables.py": {"report"},
    "cli/report.py": {"report"},
    "settings/claims.py": {"report"},
}
NOTHING = (
    "cli/data.py config.py errors.py workflow.py data/fetch/status.py data/manifest.py gfms/fetch.py "
    "settings/fields.py settings/tuning.py training/energy.py training/grid.py training/hours.py training/needs.py "
    "training/timing.py training/tracking.py"
)


@pytest.mark.parametrize(("name", "steps"), [*CHANGES.items(), *((name, set()) for name in NOTHING.split())])
def test_a_change_of_a_file_changes_what_it_decides_and_nothing_else(package: Path, name: str, steps: set[str]) -> None:
    before = fingerprints()
    with open(package / name, "a") as file:
        file.write("\n# another line\n")
    assert {step for step, digest in fingerprints().items() if digest != before[step]} == steps


def test_a_new_module_counts_and_files_of_editors_and_python_do_not(package: Path) -> None:
    before = fingerprints()
    (package / "training/__pycache__").mkdir()
    for name in (".loop.py.swp", "__pycache__/loop.cpython-311.pyc"):
        (package / "training" / name).touch()
    assert fingerprints() == before
    (package / "training/new.py").touch()
    assert "training/new.py" in deciding("train")
    assert fingerprints()["train"] != before["train"]
