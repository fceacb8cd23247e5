"""What a run record says of code, packages, weights, device and memory."""

from __future__ import annotations

import contextlib
import platform
import resource
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import deflect
from deflect.files import sha256_once
from deflect.fingerprint import code_sha256

PACKAGES = ("torch", "torchvision", "timm", "torchmetrics", "numpy", "safetensors", "peft")


@lru_cache
def code_state() -> dict[str, Any]:
    """Git revision of the package's checkout and whether tracked files differ from it; empty and False without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(deflect.__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        state = {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        state = {"revision": "", "dirty": False}
    return state | {"sha256": code_sha256("train")}


@lru_cache
def packages() -> dict[str, str]:
    """Versions of the packages that a result may depend on; absent ones are left out."""
    found = {"python": platform.python_version(), "deflect": deflect.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def weights_sha256(path: Path | None) -> str | None:
    """Hash of a weight file, read once per process and state of the file; ``None`` for random weights.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if path is None:
        return None
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no GFM weights; make them with `deflect gfm pretrain` or `deflect gfm convert`"
        )
    return sha256_once(path)


def device_facts(device: torch.device) -> dict[str, Any]:
    """Type and name of the device, and the number of CPU threads, on which the last digits depend."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory."""
    if device.type == "cuda":
        torch.cuda.init()  # the statistics of a device that was not used yet cannot be reset
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak restarts at the present use


def peak_memory_mb(device: torch.device) -> float:
    """Peak in MB (1e6 bytes): allocated by torch on a GPU; resident in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
