"""A wheel without a checkout: each command works, or names in one line what it needs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv

import pytest
from packages import CLEAN, build, install
from paths import ROOT

CLONE = "this command needs the files of the project: run it in a clone of its repository"
#: Commands in a folder with a config.yaml and nothing else; their exit code and what they print.
COMMANDS = [
    ("data status", 0, "deflect data simulate mados"),
    ("data verify so2sat", 2, "run `deflect data fetch so2sat`"),
    ("data simulate --rgb", 0, ""),
    ("data prepare mados", 2, "data/simulated/mados"),
    ("notebook tables", 2, f"notebooks/tables.py: not found; {CLONE}"),
    ("summary", 2, "no run records; train first"),
    ("explore", 2, "no run records; train first"),
    ("report", 2, "no finished runs"),
    ("doctor", 0, "config: study mini"),
]
#: Commands with slow imports.
LONGER = [
    ("gfm convert scale_mae", 2, "run `deflect gfm fetch scale_mae`"),
    ("gfm verify scale_mae", 2, "no weights; make them"),
    ("train --dataset mados --gfm scale_mae --method lora", 2, "run `deflect data prepare mados`"),
    ("evaluate run", 1, "train it with `deflect train`"),
]
CASES = [*COMMANDS, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONGER)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs the wheel's ``deflect`` in an empty folder, with the packages of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel, _ = build(folder)
    venv.create(folder / "venv", symlinks=True)
    packages = next((folder / "venv").glob("lib/python3*/site-packages"))
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib"))
    install(folder / "venv/bin/python", "--offline", "--no-deps", wheel)
    (work := folder / "work").mkdir()

    def run(command: str) -> subprocess.CompletedProcess[str]:
        program = str(folder / "venv/bin/deflect")
        return subprocess.run([program, *command.split()], cwd=work, env=CLEAN, capture_output=True, text=True)

    run.work = work
    return run


def test_a_command_without_config_file_is_an_error(run):
    done = run("data status")
    assert (done.returncode, done.stderr) == (
        2,
        "deflect: config.yaml: not found; run from the project's folder or give --config FILE\n",
    )
    assert run("--help").returncode == 0


@pytest.mark.parametrize(("command", "code", "text"), CASES)
def test_a_command_works_or_names_what_it_needs(run, command, code, text):
    (run.work / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    done = run(command)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert code != 2 or len(done.stderr.splitlines()) == 1


def test_a_missing_package_is_named(tmp_path):
    """A wheel without the extra packages of the study."""
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    code = "import sys; sys.modules['earthlib'] = None; from deflect.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "data", "simulate", "so2sat"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("deflect: the package earthlib is not installed; run `make env`")
    assert len(done.stderr.splitlines()) == 1
