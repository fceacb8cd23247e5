"""The environment's files agree with each other, and the core needs only its own packages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

sys.path.insert(0, str(ROOT / "workflow/envs"))


def test_conda_environments_hold_the_pins_of_the_lock():
    from update import environments, pins

    assert len(pins()) > 100
    for path, text in environments().items():
        assert path.read_text() == text, f"{path.name} differs from requirements.lock: run `make lock`"


@pytest.mark.parametrize(
    "lock", [ROOT / "requirements.lock", ROOT / "tests/standards/requirements.lock"], ids=lambda path: path.parent.name
)
def test_lock_pins_and_hashes_every_requirement_and_names_no_index(lock: Path):
    text = lock.read_text()
    assert "--index" not in text
    assert "://" not in text
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_every_direct_dependency_is_locked():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {name.lower().partition("[")[0] for name in wanted} <= locked


CORE = ("bands", "config", "settings.study", "spectral", "gfms", "methods", "heads", "training", "trained")
STUDY_ONLY = ["torchgeo", "rasterio", "h5py", "tifffile", "spyndex", "earthlib", "wandb", "seaborn", "pandas", "peft"]
STUDY_ONLY += ["snakemake", "dvc", "optuna", "papermill", "requests", "gdown", "jsonschema", "pystac"]
STUDY_ONLY += ["altair", "itables", "rocrate", "kubernetes"]


def test_core_imports_where_only_the_core_packages_are_installed():
    """A GPU machine may have only the core packages, so imports of the study's packages are blocked here."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys({STUDY_ONLY!r}))  # None there makes an import fail
import importlib
for name in {CORE!r}:
    importlib.import_module('deflect.' + name)
import deflect
deflect.adapt, deflect.load_gfm
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"]])
def test_help_imports_neither_torch_nor_pydantic(command):
    program = (
        "import sys; from deflect.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert not {'torch', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "usage: deflect" in done.stdout


def test_no_tracked_file_names_a_machine_or_an_index():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    pattern = re.compile(r"/(home|root|work)/[a-z]|--(extra-)?index-url")
    texts = {name: (ROOT / name).read_text(errors="ignore") for name in files if (ROOT / name).is_file()}
    bad = [name for name, text in texts.items() if name != "tests/project/test_environment.py" and pattern.search(text)]
    assert not bad
