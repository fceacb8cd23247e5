"""Maps of simulated scenes: seconds per megapixel compared with the forward pass alone, and memory against size.

    python benchmarks/predict.py [--large 10000] [--rounds 3]

Scenes are simulated reflectance of six bands, uint16, in compressed tiles. Models have random weights: a mini GFM with
windows of 48 pixels, and timm's ViT-S/16 with windows of 224, both with DEFLECT and the segmentation head of the study.
"Forward" is the model on the same windows in the same batches, which are in memory already. Both take turns, after one
that is not counted; the table has the median of each, in seconds of the processor with one thread. Memory is the peak
of a separate process that maps a scene of 2,000 x 2,000 and of 10,000 x 10,000 pixels, with the mini GFM.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import timm
import torch
from rasterio.windows import Window
from torch import Tensor

from deflect.analysis.render import pipe_table
from deflect.bands import BandStatistics, bandset
from deflect.data.card import ImageCard, StoreCard
from deflect.gfms import load_gfm
from deflect.settings.training import TrainSettings
from deflect.trained.model import TrainedModel
from deflect.trained.opening import open_scene
from deflect.training.context import Context
from deflect.training.model import build_model
from deflect.training.scoring import window_origins

BANDS = bandset("sentinel2", ["B02", "B03", "B04", "B08", "B11", "B12"])
CLASSES = ("field", "forest", "water", "built", "bare")
#: Pixels of a window, width of the head and side of the scene that is timed.
MODELS = {"mini": (48, 32, 2000), "ViT-S/16": (224, 512, 1120)}
TILE = 512
# not ru_maxrss: a child starts with that of the process that started it
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from predict import model
model("mini", "deflect").predict_scene(sys.argv[2], sys.argv[3])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""


def write_scene(path: Path, side: int) -> Path:
    """Smooth fields with noise, written tile by tile."""
    profile = {"driver": "GTiff", "count": len(BANDS), "height": side, "width": side, "dtype": "uint16"}
    profile |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "predictor": 2}
    profile |= {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.Env(GDAL_CACHEMAX=64 << 20), rasterio.open(path, "w", **profile) as file:
        for y in range(0, side, TILE):
            for x in range(0, side, TILE):
                rows, columns = np.mgrid[y : min(y + TILE, side), x : min(x + TILE, side)]
                random = np.random.default_rng([y, x])
                smooth = np.sin(rows / 37) * np.cos(columns / 53)
                tile = [1500 + 600 * band + 400 * smooth + random.normal(0, 60, rows.shape) for band in range(6)]
                file.write(np.stack(tile).astype(np.uint16), window=Window(x, y, *rows.shape[::-1]))
        file.descriptions = BANDS.names
    return path


def model(name: str, method: str = "deflect") -> TrainedModel:
    """A model with random weights."""
    size, channels, _ = MODELS[name]
    torch.manual_seed(0)
    statistics = BandStatistics((0.3,) * 6, (0.05,) * 6)
    card = {"name": "simulated", "task": "segmentation", "bands": BANDS, "classes": CLASSES, "image_size": 2 * size}
    card |= {"gsd": 10.0, "scale": 1e-4}
    store = StoreCard(**card, metric="mIoU", splits={}, statistics=statistics, simulated=True, source="simulated")
    context = Context(TrainSettings(image_size=size, upernet_channels=channels))
    if name == "mini":
        gfm = load_gfm("scale_mae", None, size="mini", img_size=size, gsd=10.0)
    else:
        gfm = timm.create_model("vit_small_patch16_224", num_classes=0)
    network = build_model(gfm, method, {}, store, context)
    network.adapted.calibrate([torch.rand(8, 6, size, size) * 0.2 + 0.2])
    record = dict.fromkeys(("dataset", "gfm", "method", "fingerprint"), "random weights")
    return TrainedModel(Path(), record, ImageCard(**card), network.eval(), context)


def windows_of(trained: TrainedModel, scene: Path) -> list[Tensor]:
    """The batches of ``predict_scene``: the windows of each row of windows."""
    size, batch = trained.window, trained.context.settings.eval_batch_size
    with open_scene(scene, trained.images) as opened:
        image = torch.from_numpy(opened.read(0, 0, opened.height, opened.width)[0])
    rows, columns = (window_origins(side, size) for side in image.shape[1:])
    strips = [torch.stack([image[:, y : y + size, x : x + size] for x in columns]) for y in rows]
    return [part.clone() for strip in strips for part in strip.split(batch)]


def seconds(action: Callable[[], object]) -> float:
    """Seconds of the processor in one thread, which other processes change less than the time that passes."""
    start = time.process_time()
    action()
    return time.process_time() - start


def peak(folder: Path, side: int) -> float:
    """Peak memory in MB of a process that maps a scene."""
    scene = write_scene(folder / f"{side}.tif", side)
    arguments = [str(Path(__file__).parent), str(scene), str(folder / "map.tif")]
    start = time.perf_counter()
    found = float(subprocess.check_output([sys.executable, "-c", CHILD, *arguments], text=True).splitlines()[-1])
    print(f"memory: {side} x {side} px: {found:.0f} MB, {time.perf_counter() - start:.0f} s", flush=True)
    scene.unlink()
    return found


def measured(title: str, rounds: int, folder: Path) -> list[str]:
    """The row of a model in the table."""
    size, _, side = MODELS[title]
    trained, scene = model(title), write_scene(folder / "scene.tif", side)
    batches = windows_of(trained, scene)
    times = [
        (
            seconds(lambda: trained.predict_scene(scene, folder / "map.tif")),
            seconds(lambda: [trained.predict(part) for part in batches]),
        )
        for _ in range(1 + rounds)
    ][1:]
    whole, bare = (statistics.median(each) / side**2 * 1e6 for each in zip(*times, strict=True))
    return [title, f"{size}", f"{side} x {side}", f"{whole:.2f}", f"{bare:.2f}", f"{whole / bare:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=10_000, help="side of the large scene; 0 measures no memory")
    parser.add_argument("--rounds", type=int, default=3, help="0 measures no time")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.rounds:
            rows = [measured(title, args.rounds, folder) for title in MODELS]
            print(pipe_table(["GFM", "window, px", "scene, px", "s / Mpx", "forward", "ratio"], rows), flush=True)
        if args.large:
            small, large = peak(folder, 2000), peak(folder, args.large)
            print(f"peak memory: {small:.0f} MB and {large:.0f} MB, ratio {large / small:.2f}")


if __name__ == "__main__":
    main()
