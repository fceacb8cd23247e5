"""Time saved and space needed if DEFLECT's descriptors, which nothing trains, were stored with the pixels.

    python benchmarks/descriptors.py

Per image and GFM, at 224 px with ten Sentinel-2 bands: the time of the descriptors within a training step, and the time
and bytes of reading stored ones instead. Descriptors depend on the GFM's patch size and on four settings of DEFLECT, so
that every combination would need its own store.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from steps import BANDS, GFMS, PIXELS, interleaved, trainee

BATCH = 2
ROUNDS = 5
STORED = 64  # images in the file that is read


def measure(size: str, folder: Path) -> list[float]:
    """Milliseconds per image of a step, of computing and of reading descriptors; kB per image of both."""
    one = trainee(size, "deflect", BATCH, "cpu")
    model = one.model.adapted
    descriptor = model.descriptor(one.images)
    path = folder / f"{size}.npy"
    np.save(path, descriptor.new_zeros(STORED, *descriptor.shape[1:]).numpy())
    stored = np.load(path, mmap_mode="r")
    out = np.empty(descriptor.shape, np.float32)
    rows = np.random.default_rng(0).integers(STORED, size=BATCH)

    def read() -> None:
        np.stack([stored[row] for row in rows], out=out)

    actions = {"step": one.step, "compute": lambda: model.descriptor(one.images), "read": read}
    milliseconds = [1e3 * seconds / BATCH for seconds in interleaved(actions, ROUNDS).values()]
    return [*milliseconds, out.nbytes / BATCH / 1e3]


def main() -> None:
    size = len(BANDS) * PIXELS**2 * 2 / 1e3
    print(
        f"{torch.get_num_threads()} threads, {PIXELS} px, {len(BANDS)} bands: {size:.0f} kB of 16-bit pixels an image"
    )
    print(f"{'GFM':10}{'step ms':>10}{'compute ms':>12}{'share':>8}{'read ms':>10}{'stored kB':>11}")
    with tempfile.TemporaryDirectory() as folder:
        for size, (_, name) in GFMS.items():
            step, compute, read, kilobytes = measure(size, Path(folder))
            row = f"{step:10.0f}{compute:12.1f}{compute / step:8.1%}{read:10.2f}{kilobytes:11.0f}"
            print(f"{name:10}{row}", flush=True)


if __name__ == "__main__":
    main()
