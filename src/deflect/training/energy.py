"""Energy that a device has used, by the counters of NVIDIA GPUs (NVML) or of the processor (RAPL).

Both count everything that runs on the device, other programs included, and neither the rest of the machine nor cooling.
Where there is no counter, the energy is unknown: nothing is estimated from the type of the device.
"""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
#: Seconds between two readings of RAPL, whose counters start again at 0 after about 260 kJ.
PAUSE = 60.0


class Meter:
    """Without a counter: the energy is not known."""

    source = ""

    def joules(self) -> float:
        """Energy since some moment in the past; NaN if it is not known. Differences of two readings count."""
        return math.nan


class GPUMeter(Meter):
    """The GPU called ``uuid``; ``nvml`` is the module ``pynvml``."""

    source = "nvml"

    def __init__(self, nvml: Any, uuid: str) -> None:
        nvml.nvmlInit()
        self.nvml, self.handle = nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        self.joules()

    def joules(self) -> float:
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1000  # of mJ


class CPUMeter(Meter):
    """All processor packages and their memory, from Linux's files below ``powercap``.

    Raises:
        OSError: there are no such files, or they cannot be read, which since Linux 5.10 only root can by default.
    """

    source = "rapl"

    def __init__(self, powercap: Path = POWERCAP) -> None:
        zones = [path.parent for path in sorted(powercap.glob("intel-rapl:*/name"))]  # also of AMD processors
        # Other zones are parts of a package, or psys, which contains the packages.
        zones = [zone for zone in zones if (zone / "name").read_text().startswith(("package", "dram"))]
        if not zones:
            raise FileNotFoundError(f"{powercap}: no energy counters")
        self.ends = {zone / "energy_uj": int((zone / "max_energy_range_uj").read_text()) + 1 for zone in zones}
        self.last = {path: int(path.read_text()) for path in self.ends}
        self.total, self.lock = 0, Lock()
        Thread(target=self._follow, daemon=True).start()

    def joules(self) -> float:
        with self.lock:
            for path, end in self.ends.items():
                now = int(path.read_text())
                self.total += (now - self.last[path]) % end
                self.last[path] = now
            return self.total / 1e6

    def _follow(self) -> None:
        while True:
            time.sleep(PAUSE)
            self.joules()


@cache
def meter(device: torch.device) -> Meter:
    """The counter of ``device``; NVML needs the package ``nvidia-ml-py``."""
    try:
        if device.type == "cuda":
            import pynvml

            return GPUMeter(pynvml, str(torch.cuda.get_device_properties(device).uuid))
        return CPUMeter()
    except Exception:  # no package, driver, counter or permission: each has errors of its own
        return Meter()


class Stopwatch:
    """Time and energy between calls of ``lap``."""

    def __init__(self, device: torch.device) -> None:
        self.meter = meter(device)
        self.last = (time.perf_counter(), self.meter.joules())

    def lap(self) -> tuple[float, float]:
        """Seconds, and joules or NaN, since the last call. The device must have finished its work."""
        before, self.last = self.last, (time.perf_counter(), self.meter.joules())
        return self.last[0] - before[0], self.last[1] - before[1]
