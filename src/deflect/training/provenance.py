"""Code, packages, weights, device and memory in the run record."""

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
    """Git revision of the package's checkout, and whether tracked files differ from it; "" and False without git."""

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
    """Versions of the installed packages that a result may depend on."""
    found = {"python": platform.python_version(), "deflect": deflect.__version__}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def weights_sha256(path: Path | None) -> str | None:
    """Hash of a weight file; ``None`` for random weights.

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
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = _entry("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def _entry(path: str, key: str) -> str:
    """The first value of ``key`` in a file of Linux; empty where there is none."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(path).read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith(key))
    return ""


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory."""
    if device.type == "cuda":
        torch.cuda.init()  # the statistics of an unused device cannot be reset
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak restarts from the current use


def peak_memory_mb(device: torch.device) -> float:
    """Peak in MB (1e6 bytes): allocated by torch on a GPU; resident in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if peak := _entry("/proc/self/status", "VmHWM"):
        return int(peak.split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
