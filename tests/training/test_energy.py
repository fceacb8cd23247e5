"""Energy counters: differences, wrap-around, and what is unknown."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deflect.training import energy
from deflect.training.energy import CPUMeter, GPUMeter, Meter, Stopwatch, meter

CPU = torch.device("cpu")


def zone(powercap: Path, folder: str, name: str, energy_uj: int, largest: int = 999_999) -> Path:
    """A counter as Linux shows it; returns the file to change."""
    (powercap / folder).mkdir(parents=True)
    for file, value in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", largest)):
        (powercap / folder / file).write_text(f"{value}\n")
    return powercap / folder / "energy_uj"


def test_packages_and_memory_are_summed_without_their_parts(tmp_path: Path) -> None:
    one = zone(tmp_path, "intel-rapl:0", "package-0", 500_000)
    two = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 0)
    parts = [zone(tmp_path, "intel-rapl:0:0", "core", 0), zone(tmp_path, "intel-rapl:2", "psys", 0)]
    found = CPUMeter(tmp_path)
    for path, value in ((one, 700_000), (two, 30_000), (memory, 5_000), *((part, 400_000) for part in parts)):
        path.write_text(str(value))
    assert found.joules() == pytest.approx(0.2 + 0.03 + 0.005)


def test_a_counter_that_starts_again_at_zero_loses_nothing(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    found = CPUMeter(tmp_path)
    path.write_text("100000")  # 100,000 to the end of the range of 1,000,000 values, and 100,000 after it
    assert found.joules() == pytest.approx(0.2)
    path.write_text("150000")
    assert found.joules() == pytest.approx(0.25)


def test_no_counter_and_no_permission_are_errors_of_the_meter_and_unknown_energy_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        CPUMeter(tmp_path)

    def refused() -> Meter:
        raise PermissionError("energy_uj")

    monkeypatch.setattr(energy, "CPUMeter", refused)
    unknown = meter.__wrapped__(CPU)
    assert (unknown.source, math.isnan(unknown.joules())) == ("", True)


def test_a_file_that_only_root_can_read_is_an_error(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    path.unlink()
    path.mkdir()  # reading it is an OSError for every user, root too
    with pytest.raises(OSError, match="energy_uj"):
        CPUMeter(tmp_path)


def test_nvml_counts_millijoules_of_the_gpu_with_this_uuid() -> None:
    asked = []
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid) or "handle",
        nvmlDeviceGetTotalEnergyConsumption={"handle": 123_456}.__getitem__,
    )
    assert GPUMeter(nvml, "ab-cd").joules() == pytest.approx(123.456)
    assert asked == ["GPU-ab-cd"]


def test_a_stopwatch_gives_the_energy_between_two_laps(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([100.0, 130.0, 131.0])
    monkeypatch.setattr(energy, "meter", lambda device: SimpleNamespace(joules=lambda: next(readings), source="rapl"))
    watch = Stopwatch(CPU)
    assert [watch.lap()[1] for _ in range(2)] == [30.0, 1.0]
