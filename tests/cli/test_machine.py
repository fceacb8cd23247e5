"""Machines without a short TMPDIR, a writable HOME, a user name or certificates."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from paths import ROOT

from deflect.cli import doctor, main
from deflect.cli.machine import KEPT, LONGEST, make_usable


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Restores the environment and the temporary folder after each test."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_a_usable_machine_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", "/tmp")
    before = dict(os.environ)
    assert make_usable() == []
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [("x" * LONGEST, "too many for sockets"), ("absent", "cannot be written"), ("file", "cannot be written")],
)
def test_an_unusable_temporary_folder_is_replaced_with_a_message(name, reason, tmp_path, monkeypatch):
    if name == "file":
        (tmp_path / name).touch()
    elif name != "absent":
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / name))
    (line,) = [line for line in make_usable() if "TMPDIR" in line]
    assert reason in line
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == "/tmp"


def test_notebooks_run_below_a_long_temporary_folder(tmp_path, monkeypatch):
    """Jupyter creates sockets there, whose paths have a limit."""
    source, folder = tmp_path / "one.py", tmp_path / ("a_batch_job_" * 8)
    source.write_text('# %% tags=["parameters"]\nx = 1\n')
    folder.mkdir()
    program = "import sys; from deflect.cli import main; main(['data', 'status']); "
    program += "from deflect.analysis.notebook import execute; execute(*sys.argv[1:])"
    command = [sys.executable, "-c", program, str(source), str(tmp_path / "one.ipynb")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "TMPDIR" in done.stderr
    assert (tmp_path / "one.ipynb").exists()


def test_folders_below_an_unwritable_home_are_replaced(monkeypatch):
    for name in KEPT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null/home")
    (line,) = make_usable()
    assert "HOME=/dev/null/home cannot be written" in line
    assert all(Path(os.environ[name]).is_relative_to(tempfile.gettempdir()) for name in KEPT)


def test_a_user_id_without_a_name_gets_one(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)  # what a container gives: an id of no user
    (line,) = make_usable()
    assert "user id 4000000000 has no name" in line
    assert getpass.getuser() == "user4000000000"


def test_doctor_shows_what_was_missing(monkeypatch, capsys):
    monkeypatch.setenv("TMPDIR", "/dev/null/scratch")
    main(["doctor"])
    assert "note  TMPDIR=/dev/null/scratch cannot be written; /tmp is used" in capsys.readouterr().out


def test_doctor_reports_a_missing_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    level, line = doctor.git()
    assert (level, "`dvc repro` fails" in line) == ("error", True)


def test_doctor_notes_a_folder_that_is_no_clone(tmp_path):
    level, line = doctor.git(tmp_path)
    assert (level, "not a git repository" in line, "\n" in line) == ("note", True, False)
    assert doctor.git(ROOT)[0] == "ok"


def test_doctor_notes_added_certificates(tmp_path, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert doctor.certificates([f"{tmp_path}/*.crt"])[0] == "ok"
    (tmp_path / "institute.crt").touch()
    level, line = doctor.certificates([f"{tmp_path}/*.crt"])
    assert (level, "institute.crt" in line, "REQUESTS_CA_BUNDLE" in line) == ("note", True, True)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "system.crt")
    assert doctor.certificates([f"{tmp_path}/*.crt"])[0] == "ok"


def test_doctor_reports_a_locale_that_is_not_utf8(monkeypatch):
    monkeypatch.setattr(doctor.locale, "getencoding", lambda: "ISO-8859-1")
    level, line = doctor.encoding()
    assert (level, "PYTHONUTF8=1" in line) == ("error", True)


@pytest.fixture
def made(tmp_path):
    """Runs `make env` with an installer that writes its environment to a file; returns this environment."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (uv := tmp_path / ".venv/bin/uv").write_text("#!/bin/sh\nenv > found\n")
    uv.chmod(0o755)

    def make(**changes: str | None) -> dict[str, str]:
        kept = {k: v for k, v in (os.environ | changes).items() if v is not None}
        subprocess.run(["make", "--silent", "env"], cwd=tmp_path, env=kept, check=True)
        return dict(line.split("=", 1) for line in (tmp_path / "found").read_text().splitlines() if "=" in line)

    return make


def test_make_env_takes_the_certificates_of_the_machine(made, tmp_path):
    (tmp_path / "own.pem").touch()
    found = made(SSL_CERT_FILE=str(tmp_path / "own.pem"), UV_SYSTEM_CERTS=None, PIP_CERT=None)
    assert (found["UV_SYSTEM_CERTS"], found["PIP_CERT"]) == ("true", str(tmp_path / "own.pem"))


def test_make_env_keeps_caches_where_home_cannot_be_written(made, tmp_path):
    assert made(HOME="/dev/null/home", XDG_CACHE_HOME=None)["XDG_CACHE_HOME"] == str(tmp_path / ".cache")


def test_make_env_keeps_caches_at_home_otherwise(made, tmp_path):
    assert "XDG_CACHE_HOME" not in made(HOME=str(tmp_path), XDG_CACHE_HOME=None)


@pytest.mark.parametrize(("end", "level"), [("exit 0", "ok"), ("echo accounting is disabled >&2; exit 1", "note")])
def test_slurm_without_accounting_is_noted(end, level, tmp_path, monkeypatch):
    for name in ("sbatch", "sacct"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{end}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [(found, line)] = doctor.slurm()
    assert found == level
    assert ("accounting is disabled" in line and "squeue" in line) == (level == "note")
