"""``deflect doctor``: check the machine and the configuration for known problems and give the remedy for each."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deflect.config import INSTALL, load
from deflect.data.disk import human
from deflect.errors import DeflectError

Finding = tuple[str, str]  # ("ok" | "note" | "fault", one line)
PACKAGES = ("torch", "torchvision", "timm", "snakemake", "dvc", "papermill", "torchgeo", "wandb")

#: Where administrators put certificates of their own (Debian, Fedora, Arch, SUSE).
ANCHORS = (
    "/usr/local/share/ca-certificates/**/*.crt",
    "/etc/pki/ca-trust/source/anchors/*",
    "/etc/ca-certificates/trust-source/anchors/*",
    "/etc/pki/trust/anchors/*",
)


def doctor(config: Path | None = None, study: str | None = None, changes: Sequence[str] = ()) -> int:
    """Print one line per check; returns 1 if one of them is a fault.

    ``changes``: the lines of ``deflect.places.make_usable``.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        lambda: _config(config, study),
        lambda: _device(config, study),
        lambda: _disk(config, study),
        lambda: _places(changes),
        _encoding,
        git,
        dvc_cache,
        certificates,
        _wandb,
    ]
    findings = [finding for check in checks for finding in check()]
    for level, line in findings:
        print(f"{level:>5}  {line}")
    return int(any(level == "fault" for level, _ in findings))


def _places(changes: Sequence[str]) -> Iterator[Finding]:
    for line in changes:
        yield "note", line
    if not changes:
        yield "ok", "TMPDIR, HOME and the user's name can be used"


def _encoding() -> Iterator[Finding]:
    found = locale.getencoding()
    if sys.flags.utf8_mode or found.lower() in ("utf-8", "utf8"):
        yield "ok", "text is UTF-8"
    else:
        yield "fault", f"text is {found} in this locale, names with other letters fail; run `export PYTHONUTF8=1`"


def git(root: Path = Path()) -> Iterator[Finding]:
    """DVC needs git and a repository; run records contain the revision."""
    if shutil.which("git") is None:
        yield "fault", "git: not found; `dvc repro` fails without it; install git, or run `snakemake` instead of DVC"
        return
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        yield (
            "note",
            f"git: {reason}; `dvc repro` and the revision in records need a clone (`git clone`, or `git init`)",
        )
    else:
        yield "ok", f"git: revision {done.stdout[:7]}"


def certificates(anchors: Sequence[str] = ANCHORS) -> Iterator[Finding]:
    """Added certificates mean a proxy that signs for every server; Python does not use them by default."""
    own = sorted(str(path) for pattern in anchors for path in Path("/").glob(pattern.lstrip("/")))
    used = [name for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE") if os.environ.get(name)]
    if own and len(used) < 2:
        yield (
            "note",
            f"TLS: this machine has certificates of its own ({own[0]}); if downloads fail with `certificate verify "
            "failed`, set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to the system's file, e.g. "
            "/etc/ssl/certs/ca-certificates.crt (for uv alone: UV_SYSTEM_CERTS=true, as `make env` does)",
        )
    else:
        yield "ok", f"TLS: {' and '.join(used) + ' set' if used else 'no certificates of an institute found'}"


def dvc_cache(root: Path = Path()) -> Iterator[Finding]:
    """A linked cache with `persist: true` gives stale results silently: DVC updates the times of outputs."""
    if not (root / ".dvc").is_dir():
        yield "note", "DVC: no .dvc folder here; `dvc repro` needs the project's folder"
        return
    command = [sys.executable, "-m", "dvc", "config", "cache.type"]
    types = subprocess.run(command, cwd=root, capture_output=True, text=True).stdout.strip()
    linked = [kind for kind in types.split(",") if kind in ("hardlink", "symlink")]
    if linked:
        yield (
            "fault",
            f"DVC: cache.type is {types!r}: {linked[0]}s make Snakemake take stale results for new ones; "
            "run `dvc config --unset cache.type` (also with --local and --global)",
        )
    else:
        yield "ok", f"DVC: cache.type is {types or 'the default (reflink, copy)'}"


def _python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield "ok", f"Python {found}"


def _packages() -> Iterator[Finding]:
    lock = Path("requirements.lock")
    pins = lock.read_text() if lock.exists() else ""
    for name in PACKAGES:
        try:
            found = version(name)
        except PackageNotFoundError:
            yield "fault", f"{name}: not installed; {INSTALL}"
            continue
        if pins and f"\n{name}=={found} " not in f"\n{pins}":
            yield "note", f"{name} {found}: requirements.lock has another version; `make env` installs that one"
        else:
            yield "ok", f"{name} {found}"


def _config(path: Path | None, name: str | None) -> Iterator[Finding]:
    try:
        study = load(path, name).study
        yield "ok", f"config: study {study.name}, {len(study.datasets)} datasets, {len(study.gfms)} GFMs"
    except DeflectError as error:
        yield "fault", str(error)


def _device(path: Path | None, study: str | None) -> Iterator[Finding]:
    import torch

    from deflect.training.needs import core_hours

    if torch.cuda.is_available():
        yield "ok", f"GPU: {torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
    else:
        yield "note", "no GPU: the mini study runs on the CPU; the paper study needs a GPU machine"
        with suppress(DeflectError):
            config = load(path, study)
            if hours := core_hours(config):
                yield "note", f"study {config.study.name} would take about {hours:,.0f} hours of one CPU core to train"


def _disk(path: Path | None, study: str | None) -> Iterator[Finding]:
    from deflect.training.needs import disk_needs, needs_line

    with suppress(DeflectError):  # of the configuration, which has a line of its own
        config, free = load(path, study), shutil.disk_usage(Path()).free
        enough = free > sum(disk_needs(config).values())
        yield "ok" if enough else "note", f"disk: {human(free)} free here; {needs_line(config)}"


def _wandb() -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE")
    if mode == "online" and not (os.environ.get("WANDB_API_KEY") or os.path.exists(os.path.expanduser("~/.netrc"))):
        yield "note", "W&B: WANDB_MODE=online but no key was found; run `wandb login` or use offline"
    else:
        yield "ok", f"W&B: WANDB_MODE is {mode or 'not set; config.yaml decides'}"
