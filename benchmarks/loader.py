"""Loading from the prepared store compared with reading the published files, and the memory of preparing.

    python benchmarks/loader.py

All ways run in one process on the same simulated files of published layout and size; the table gives the best of
several passes after one that warms the caches. "files" collects the reader's float32 samples. "store" is what training
at the paper's size loads: pixels and labels in their stored types, of segmentation images a window of the input's size,
copied into reused memory, as for batches that go to a GPU. "whole" is the same without windows. "reflectance" is
``Split.batch``: whole images, decoded on the CPU into new memory. Memory is the peak of a separate process that
prepares a dataset of one and of eight times the size.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deflect.data.prepare import prepare
from deflect.data.readers import read
from deflect.data.simulate import simulate
from deflect.data.store import Empty, Store
from deflect.settings.simulation import SimulationSize
from deflect.settings.training import TrainSettings
from deflect.training.batches import training_window

#: Images per dataset, about 20 to 50 MB each.
IMAGES = {"so2sat": 256, "brick_kiln": 128, "forestnet": 32, "burn_scars": 8, "mados": 16}
BATCH = 8
PASSES = 5
MEMORY = ("forestnet", 64)
# not ru_maxrss: a child starts with that of the process that started it
CHILD = """
import sys
from deflect.data.prepare import prepare
prepare(sys.argv[1], sys.argv[2], sys.argv[3])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""


def best(batches: list[list[int]], load: Callable[[list[int]], object]) -> float:
    """Shortest of several passes over all batches, in seconds; the first one only warms the caches."""
    times = []
    for _ in range(1 + PASSES):
        start = time.perf_counter()
        for batch in batches:
            load(batch)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def used_again() -> Empty:
    """Memory for batches that is made once per shape and type."""
    made: dict[tuple[Any, ...], Tensor] = {}

    def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return made.setdefault((shape, dtype), torch.empty(shape, dtype=dtype))

    return empty


def throughput(name: str, folder: Path) -> list[float]:
    """Images per second out of the published files, and out of the store in three ways."""
    simulate(name, folder / "raw", SimulationSize(train=IMAGES[name], val=1, test=1), seed=0)
    prepare(name, folder / "raw", folder / "store")
    raw, split = read(name, folder / "raw", "train"), Store(folder / "store").split("train")
    n = len(raw)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist()
    batches = [order[i : i + BATCH] for i in range(0, n, BATCH)]

    def from_files(batch: list[int]) -> None:
        samples = [raw[i] for i in batch]
        torch.stack([sample["image"] for sample in samples])
        torch.stack([sample[split.key] for sample in samples])

    memory = used_again()
    draws = np.random.default_rng(0).random((BATCH, 4))
    window = training_window(draws, TrainSettings())
    ways = (
        from_files,
        lambda batch: split.stored(batch, memory, window),
        lambda batch: split.stored(batch, memory),
        split.batch,
    )
    return [n / best(batches, way) for way in ways]


def peak_memory(name: str, images: int, folder: Path) -> float:
    """Peak resident MB of a process that prepares ``images`` images."""
    simulate(name, folder / "raw", SimulationSize(train=images, val=1, test=1), seed=0)
    command = [sys.executable, "-c", CHILD, name, str(folder / "raw"), str(folder / "store")]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    torch.set_num_threads(1)
    columns = ("files", *(f"{way}{what}" for way in ("store", "whole", "reflectance") for what in ("", "/files")))
    print("images/s  ", *(f"{column:>18}" for column in columns), sep="")
    for name in IMAGES:
        with tempfile.TemporaryDirectory() as folder:
            files, *ways = throughput(name, Path(folder))
        row = "".join(f"{rate:18.0f}{rate / files:17.1f}x" for rate in ways)
        print(f"{name:10}{files:18.0f}{row}", flush=True)
    name, images = MEMORY
    print(f"\npeak memory of preparing {name}, MB")
    for factor in (1, 8):
        with tempfile.TemporaryDirectory() as folder:
            peak = peak_memory(name, factor * images, Path(folder))
        print(f"{factor}x ({factor * images} images) {peak:10.0f}", flush=True)


if __name__ == "__main__":
    main()
