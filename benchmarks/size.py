"""A user's own dataset of two sizes: time and memory of every step from the files to the first training step.

    python benchmarks/size.py [--images 1000 10000] [--folder FOLDER]

The images are real, different GeoTIFFs of 8 x 8 pixels and four bands with random pixels in ten class folders, so that
the number of files counts and not their size: one is written by rasterio, the others are its bytes with other pixels.
Each step is a process of its own. Its seconds are those of the processor without importing, since other processes
change them less than the time that passes (which is shown for two processes); its memory is the peak of a process. "Dry
run" is a whole ``snakemake -n``, imports included. "Resumed" continues a preparation that was killed when half of the
images were in finished shards. "First step" opens and verifies the store, builds a mini GFM with DEFLECT, calibrates it
and makes one training step of 64 images.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import yaml

from deflect.analysis.render import pipe_table

ROOT = Path(__file__).parents[1]
BANDS, SIDE, CLASSES = ("B02", "B03", "B04", "B08"), 8, [f"class_{k}" for k in range(10)]
CARD = {
    "task": "classification",
    "sensor": "sentinel2",
    "bands": [*BANDS],
    "scale": 0.0001,
    "gsd": 10,
    "classes": CLASSES,
    "labels": "folders",
    "splits": {"seed": 0, "fractions": [0.7, 0.1, 0.2]},
}
RAW = Path("data/raw/many")
PREPARE = "from deflect.data.prepare import prepare", f"prepare('many', '{RAW}', 'store', jobs={{jobs}})"
#: Step -> what it imports and what is timed.
STEPS = {
    "list": ("from deflect.data.readers import read", f"kept = read('many', '{RAW}', 'train')"),
    "watch": ("from deflect.data.manifest import folder_sha256", f"folder_sha256(Path('{RAW}'))"),
    "first step": (
        """
import timm, torch
from deflect.data.store import Store
from deflect.gfms import load_gfm
from deflect.settings.training import TrainSettings
from deflect.training.batches import training_batches
from deflect.training.context import Context
from deflect.training.loss import Loss
from deflect.training.model import build_model, calibrate""",
        """
store = Store("store")
store.verify()
context = Context(TrainSettings(image_size=32, batch_size=64))
gfm = load_gfm("scale_mae", None, size="mini", img_size=32, gsd=10.0)
model = build_model(gfm, "deflect", {}, store.card, context)
split = store.split("train")
calibrate(model, split, context)
images, labels = next(training_batches(split, 0, context))
Loss.of(store.card)(model(images), labels)[0].backward()""",
    ),
}
# not ru_maxrss for the process itself: a child starts with that of the process that started it
CHILD = """
import resource, time
from pathlib import Path
def processor():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(found.ru_utime + found.ru_stime for found in used)
{imports}
start, used = time.perf_counter(), processor()
{step}
used, passed = processor() - used, time.perf_counter() - start
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(used, passed, max(int(peak.split()[1]), workers) / 1024)
"""
TWO = "prepare, 2 processes"
Measured = tuple[float, float, float]  # seconds of the processor, seconds that pass, and MB


def write(folder: Path, images: int) -> None:
    """``images`` GeoTIFFs with different pixels, and their card."""
    folder.mkdir(parents=True)
    (folder / "card.yaml").write_text(yaml.safe_dump(CARD))
    shape = (len(BANDS), SIDE, SIDE)
    marks = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    profile = {"driver": "GTiff", "count": len(BANDS), "height": SIDE, "width": SIDE, "dtype": "uint16"}
    profile |= {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), "interleave": "band"}
    one = folder / "one.tif"
    with rasterio.open(one, "w", **profile) as file:
        file.write(marks)
    content = one.read_bytes()
    one.unlink()
    head, found, tail = content.partition(marks.tobytes())
    assert found, "the bands of the file are not next to each other"
    random = np.random.default_rng(0)
    for title in CLASSES:
        (folder / title).mkdir()
    for index in range(images):
        pixels = random.integers(300, 4000, shape, dtype=np.uint16)
        path = folder / CLASSES[index % len(CLASSES)] / f"scene_{index:07d}.tif"
        path.write_bytes(head + pixels.tobytes() + tail)


def start(imports: str, step: str, folder: Path) -> subprocess.Popen[str]:
    code = CHILD.format(imports=imports, step=step)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=environment, text=True, stdout=-1, stderr=subprocess.DEVNULL
    )


def finished(process: subprocess.Popen[str]) -> Measured:
    output, _ = process.communicate()
    assert process.returncode == 0, process.args
    used, passed, memory = map(float, output.split()[-3:])
    return used, passed, memory


def dry_run(folder: Path) -> Measured:
    """Snakemake's plan for the store."""
    command = ["-m", "snakemake", "-n", "--quiet", "all", "-s", str(ROOT / "Snakefile")]
    return finished(
        start(
            "import subprocess, sys",
            f"subprocess.run([sys.executable, *{command}, 'data/prepared/mini/many/store.json'], check=True, stdout=2)",
            folder,
        )
    )


def prepare(folder: Path, jobs: int) -> Measured:
    imports, step = PREPARE
    return finished(start(imports, step.format(jobs=jobs), folder))


def interrupt(folder: Path, images: int) -> None:
    """Prepare, and kill the process when half of the images are in shards that are finished."""
    imports, step = PREPARE
    process = start(imports, step.format(jobs=1), folder)
    while process.poll() is None and prepared(folder) < images // 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    print(f"killed with {prepared(folder)} of {images} images in finished shards", flush=True)


def prepared(folder: Path) -> int:
    """The number of images in finished shards."""
    ranges = [path.name.split(".")[1].split("-") for path in folder.glob(".store.*.part/[!.]*-*.json")]
    return sum(int(last) - int(first) for first, last in ranges)


def remove_store(folder: Path) -> None:
    for place in (folder / "store", folder / ".made_from"):
        subprocess.run(["rm", "-rf", str(place)], check=True)


def measure(images: int, folder: Path) -> dict[str, Measured]:
    """Time and memory of every step."""
    began = time.perf_counter()
    write(folder / RAW, images)
    print(f"{images} files written in {time.perf_counter() - began:.0f} s", flush=True)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["studies"]["mini"]["datasets"] = ["many"]
    del config["studies"]["mini"]["variants"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))

    found: dict[str, Measured] = {}

    def note(name: str, measured: Measured) -> None:
        found[name] = measured
        print(f"{images} images, {name}: {measured[0]:.2f} s of {measured[1]:.2f}, {measured[2]:.0f} MB", flush=True)

    for name in ("list", "watch"):
        note(name, finished(start(*STEPS[name], folder)))
    note("dry run", dry_run(folder))
    note("prepare, 1 process", prepare(folder, 1))
    note("prepare again, nothing to do", prepare(folder, 1))
    remove_store(folder)
    note(TWO, prepare(folder, 2))
    remove_store(folder)
    interrupt(folder, images)
    note("resumed", prepare(folder, 1))
    store = folder / "data/prepared/mini/many"
    store.parent.mkdir(parents=True)
    store.symlink_to(folder / "store")
    store.with_name("many.finished").touch()
    note("dry run with the store", dry_run(folder))
    note("first step", finished(start(*STEPS["first step"], folder)))
    return found


def row(step: str, small: Measured, large: Measured) -> list[str]:
    seconds = [measured[step == TWO] for measured in (small, large)]
    memory = [measured[2] for measured in (small, large)]
    step += " (seconds that pass)" if step == TWO else ""
    cells = [step, *(f"{value:.2f}" for value in seconds), f"{seconds[1] / seconds[0]:.1f}"]
    return [*cells, *(f"{value:.0f}" for value in memory), f"{memory[1] / memory[0]:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs=2, default=[1000, 10_000], help="the two sizes")
    parser.add_argument("--folder", type=Path, help="where the files are written (default: the temporary folder)")
    args = parser.parse_args()
    found = []
    for images in args.images:
        with tempfile.TemporaryDirectory(dir=args.folder, prefix="size_") as name:
            found.append(measure(images, Path(name)))
    rows = [row(step, *(each[step] for each in found)) for step in found[0]]
    sizes = [f"{images:,} images" for images in args.images]
    columns = ["step", *(f"{size}, s" for size in sizes), "ratio", *(f"{size}, MB" for size in sizes), "ratio"]
    print(pipe_table(columns, rows))


if __name__ == "__main__":
    main()
