"""``deflect doctor``: look for the traps that waste a day, and say how to get out of each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deflect.config import load
from deflect.errors import DeflectError

Finding = tuple[str, str]  # ("ok" | "note" | "fault", one line)
PACKAGES = ("torch", "torchvision", "timm", "snakemake", "dvc", "papermill", "torchgeo", "wandb")


def doctor(config: Path | None = None) -> int:
    """Print one line per check; returns 1 if one of them is a fault."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        lambda: _config(config),
        _device,
        _disk,
        dvc_cache,
        _wandb,
    ]
    findings = [finding for check in checks for finding in check()]
    for level, line in findings:
        print(f"{level:>5}  {line}")
    return int(any(level == "fault" for level, _ in findings))


def dvc_cache(root: Path = Path()) -> Iterator[Finding]:
    """Linked caches and `persist: true` together give silently stale results: DVC refreshes the outputs' times."""
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
            yield "fault", f"{name}: not installed; run `make env`"
            continue
        if pins and f"\n{name}=={found} " not in f"\n{pins}":
            yield "note", f"{name} {found}: requirements.lock has another version; `make env` installs that one"
        else:
            yield "ok", f"{name} {found}"


def _config(path: Path | None) -> Iterator[Finding]:
    try:
        study = load(path).study
        yield "ok", f"config: study {study.name}, {len(study.datasets)} datasets, {len(study.gfms)} GFMs"
    except DeflectError as error:
        yield "fault", str(error)


def _device() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield "ok", f"GPU: {torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
    else:
        yield "note", "no GPU: the mini study runs on the CPU; the paper study needs a GPU machine"


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path()).free / 1e9
    level = "ok" if free > 70 else "note"
    yield level, f"disk: {free:.0f} GB free here; the paper study's downloads and stores take about 70 GB"


def _wandb() -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE")
    if mode == "online" and not (os.environ.get("WANDB_API_KEY") or Path.home().joinpath(".netrc").exists()):
        yield "note", "W&B: WANDB_MODE=online but no key was found; run `wandb login` or use offline"
    else:
        yield "ok", f"W&B: WANDB_MODE is {mode or 'not set; config.yaml decides'}"
