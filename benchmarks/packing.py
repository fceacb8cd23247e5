"""Several runs on one GPU at a time: images per second of all together, and the memory that they take.

    python benchmarks/packing.py [--gfms dino_mc scale_mae] [--at-a-time 1 2 4 8] [--runs 8] [--mps]

The runs are DEFLECT in the paper's batch of 8 on images of the size of So2Sat (random reflectance, 64 px resized to
224, ten bands), GFMs with random weights, bf16; each run trains, validates and tests. Every process of a pool has
trained a short run before, so that starting Python and CUDA does not count. Memory is what the whole device has in use
at most, so it includes CUDA itself. ``--mps`` says in the table that NVIDIA's Multi-Process Service is running; it does
not start it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))
from tiny_store import tiny_store

from deflect.analysis.render import pipe_table
from deflect.bands import bandset
from deflect.settings.training import TrainSettings
from deflect.training.provenance import device_facts
from deflect.training.run import train
from deflect.training.spec import RunSpec

BANDS = bandset("sentinel2", ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])


def spec(root: Path, gfm: str, name: str, seed: int, pixels: int) -> RunSpec:
    """A run on the store ``name``; a GPU takes bf16, a CPU float32."""
    precision = "bf16" if torch.cuda.is_available() else "float32"
    training = TrainSettings(image_size=pixels, epochs=2, batch_size=8, precision=precision, checkpoint_every=0)
    size = "full" if pixels == 224 else "mini"
    out = root / "runs" / name / gfm / f"{time.monotonic_ns()}.{seed}"
    return RunSpec("bench", name, gfm, "deflect", seed, root / name, out, training=training, gfm_size=size, threads=2)


def trained(one: RunSpec) -> float:
    """Train a run; its peak memory in MB as allocated by torch."""
    return float(train(one)["memory"]["peak_mb"])


class Used:
    """The most memory in use on the device while it is watched, in MB."""

    def __enter__(self) -> Used:
        self.most, self.watching = 0.0, torch.cuda.is_available()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while self.watching:
            free, total = torch.cuda.mem_get_info()
            self.most = max(self.most, (total - free) / 1e6)
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self.watching = False
        self.thread.join()


def measure(root: Path, gfm: str, runs: int, at_a_time: int, images: int, pixels: int) -> tuple[float, float, float]:
    """Seconds for ``runs`` runs, ``at_a_time`` of them at once; peaks of one run and of the device in MB."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(at_a_time, mp_context=context) as pool, Used() as used:
        list(pool.map(trained, [spec(root, gfm, "warm", seed, pixels) for seed in range(at_a_time)]))
        began = time.perf_counter()
        peaks = list(pool.map(trained, [spec(root, gfm, "images", seed, pixels) for seed in range(runs)]))
        seconds = time.perf_counter() - began
    return seconds, max(peaks), used.most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gfms", nargs="+", default=["dino_mc", "cross_scale_mae", "scale_mae"])
    parser.add_argument("--at-a-time", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--pixels", type=int, default=224, help="other sizes train the mini GFMs")
    parser.add_argument("--mps", action="store_true")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, n in {"images": args.images, "warm": 16}.items():
            tiny_store(root / name, "classification", 64, 17, {"train": n, "val": n // 8, "test": n // 8}, BANDS)
        for gfm in args.gfms:
            first = None
            for at_a_time in args.at_a_time:
                seconds, peak, used = measure(root, gfm, args.runs, at_a_time, args.images, args.pixels)
                first = first or seconds
                row = [gfm, f"{at_a_time}{' (MPS)' * args.mps}", f"{seconds / args.runs:.1f}", f"{first / seconds:.2f}"]
                rows.append([*row, f"{peak:.0f}", f"{used:.0f}"])
                print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    device = device_facts(torch.device("cuda" if torch.cuda.is_available() else "cpu"))["name"]
    print(f"\n{device}, torch {torch.__version__}, {args.runs} runs of 2 epochs of {args.images} images, batch 8\n")
    header = [
        "GFM",
        "runs at a time",
        "seconds per run",
        "runs per hour, ratio",
        "peak MB of a run",
        "MB of the device",
    ]
    print(pipe_table(header, rows, "---:"))


if __name__ == "__main__":
    main()
