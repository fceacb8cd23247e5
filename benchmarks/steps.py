"""Cost of adaptation: time and memory of a training step, and time of a forward pass, for several methods in one run.

    python benchmarks/steps.py [--sizes S16 S B L] [--batch N] [--rounds N] [--out FILE.md]

The models are the three GFMs at 224 px with random weights (time does not depend on their values): DINO-MC ViT-S/8,
Cross-Scale MAE ViT-B/16, Scale-MAE ViT-L/16, and timm's ViT-S/16 for the cost at its usual patch size, on ten
Sentinel-2 bands, with the linear head. The methods take turns, so that a busy machine slows all of them; the table
gives medians and their ratios. Memory is the peak of a separate process: on a CPU above its memory before the model was
built, on a GPU as allocated by torch.

The table also has the ratios of floating-point operations (matrix products, attention, convolutions), which do not
depend on the machine. A method close to them has no overhead left to remove.

On a GPU the step runs in bf16; the share of the GPU's peak counts the same operations, and the time of the paper's grid
is projected from steps with either head.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from deflect.analysis.render import pipe_table
from deflect.bands import BandStatistics, bandset
from deflect.data.catalog import DATASETS
from deflect.gfms import load_gfm
from deflect.methods import adapt
from deflect.settings import PAPER_DATASETS
from deflect.settings.training import TrainSettings
from deflect.training.context import Context
from deflect.training.loop import batch_loss, build_optimizer
from deflect.training.loss import Loss
from deflect.training.model import TaskModel, build_head
from deflect.training.provenance import device_facts, reset_peak_memory

GFMS = {"S": ("dino_mc", "ViT-S/8"), "B": ("cross_scale_mae", "ViT-B/16"), "L": ("scale_mae", "ViT-L/16")}
MODELS = {"S16": ("vit_small_patch16_224", "ViT-S/16")} | GFMS
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "DEFLECT": ("deflect", {}),
    "LoRA r=16, peft": ("peft:lora", {"options": {"r": 16, "lora_alpha": 16}}),
    "LoRA r=16": ("lora", {"rank": 16}),
    "SLR r=16": ("slr", {"rank": 16}),
    "BitFit": ("bitfit", {}),
    "full": ("full", {}),
}
BANDS = bandset("sentinel2", ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])
STATISTICS = BandStatistics((0.2,) * len(BANDS), (0.1,) * len(BANDS))
PIXELS, CLASSES = 224, 15
EPOCHS = {"classification": 50, "segmentation": 80}
SEEDS, PAPER_METHODS = 3, 8
#: Dense bf16 operations per second on the data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "L4": 121e12}


@dataclass
class Trainee:
    """A model with everything for a training step."""

    model: TaskModel
    optimizer: torch.optim.Optimizer
    context: Context
    images: Tensor
    labels: Tensor
    loss_of: Loss

    def step(self) -> None:
        """One training step."""
        self.model.train()
        loss = batch_loss(self.model, self.model, self.images, self.labels, self.context, self.loss_of)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        wait()

    def forward(self) -> None:
        """The encoder alone, without gradient."""
        self.model.eval()
        with torch.inference_mode(), self.context.autocast():
            self.model.features(self.images)
        wait()


def wait() -> None:
    """Wait until the GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def trainee(size: str, method: str, batch: int, device: str, task: str = "classification", **settings: Any) -> Trainee:
    """A GFM adapted by ``method``, with the head of ``task`` and a batch of random reflectance on ``device``."""
    torch.manual_seed(0)
    place = torch.device(device)
    context = Context(TrainSettings(precision="bf16" if place.type == "cuda" else "float32"), device=place)
    name = MODELS[size][0]
    gfm = load_gfm(name, img_size=PIXELS) if size in GFMS else timm.create_model(name)
    adapted = adapt(gfm, method, BANDS, STATISTICS, **settings)
    head = build_head(task, adapted, CLASSES, context.settings)
    model = TaskModel(adapted, head, adapted.taps(task)).to(place)
    images = torch.rand(batch, len(BANDS), PIXELS, PIXELS, device=place) * 0.5
    adapted.calibrate([images])
    shape = (batch,) if task == "classification" else (batch, PIXELS, PIXELS)
    labels = torch.randint(0, CLASSES, shape, device=place)
    return Trainee(model, build_optimizer(model, context.settings), context, images, labels, Loss(task))


def interleaved(actions: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each action; they take turns, and the first round is not counted.

    In its turn an action runs twice and the second time counts: in training, too, a step follows one of the same model,
    whose weights are in the caches. For a small model this is 2 % of a step.
    """
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(1 + rounds):
        for name, action in actions.items():
            action()
            began = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def resident_mb(field: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process, in MB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def peak_memory_mb(size: str, method: str, batch: int, device: str, threads: int, settings: dict[str, Any]) -> float:
    """Peak of two steps, including the model; to be called in a new process."""
    torch.set_num_threads(threads)
    torch.nn.functional.conv2d(torch.rand(1, 3, 64, 64), torch.rand(8, 3, 8, 8), stride=8)  # libraries load now
    before = resident_mb("VmRSS")
    one = trainee(size, method, batch, device, **settings)
    reset_peak_memory(torch.device(device))  # building holds two copies of the GFM for a moment
    one.step()
    one.step()
    return torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else resident_mb("VmHWM") - before


def in_fresh_process(*arguments: Any) -> float:
    """``peak_memory_mb`` in a new process, which starts with the modules imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["deflect.training.loop", "deflect.methods", "peft"])
    with context.Pool(1) as pool:
        return float(pool.apply(peak_memory_mb, arguments))


def operations(action: Callable[[], None]) -> float:
    """Floating-point operations of a step or forward pass, in matrix products, attention and convolutions."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        action()
    return float(counter.get_total_flops())


def gpu_peak() -> float | None:
    """Operations per second on the GPU's data sheet, if it is a known one."""
    name = torch.cuda.get_device_name()
    return next((peak for key, peak in PEAKS.items() if key in name), None)


def measure(size: str, batch: int, rounds: int, device: str) -> list[list[str]]:
    """The rows of one GFM's table."""
    methods = {k: v for k, v in METHODS.items() if v[0] != "peft:lora" or find_spec("peft")}
    memory = {
        name: in_fresh_process(size, method, batch, device, torch.get_num_threads(), settings)
        for name, (method, settings) in methods.items()
    }
    models = {name: trainee(size, method, batch, device, **settings) for name, (method, settings) in methods.items()}
    frozen = trainee(size, "frozen", batch, device)
    step = interleaved({name: one.step for name, one in models.items()}, rounds)
    forwards = {"frozen": frozen.forward} | {name: one.forward for name, one in models.items()}
    forward = interleaved(forwards, 4 * rounds)  # short and close to one another
    step_operations = {name: operations(one.step) for name, one in models.items()}
    forward_operations = {name: operations(action) for name, action in forwards.items()}
    reference = "LoRA r=16, peft" if "LoRA r=16, peft" in models else "LoRA r=16"
    rows = []
    for name in models:
        row = [f"{1e3 * step[name]:.1f}", f"{step[name] / step[reference]:.2f}"]
        row += [f"{found[name] / found['full']:.2f}" for found in (step, step_operations)]
        row += [f"{found[name] / found['frozen']:.2f}" for found in (forward, forward_operations)]
        row += [f"{memory[name]:.0f}", f"{memory[name] / memory[reference]:.2f}"]
        if device == "cuda":
            peak = gpu_peak()
            row.append(f"{step_operations[name] / step[name] / peak:.1%}" if peak else "unknown GPU")
        rows.append([MODELS[size][1], name, *row])
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    return rows


def projected_hours(sizes: Sequence[str], batch: int, rounds: int) -> list[list[str]]:
    """Hours of training of the paper's grid per GFM, from steps of DEFLECT, LoRA, BitFit and full with either head."""
    rows = []
    for size in sizes:
        seconds = {}
        for task in EPOCHS:
            chosen = {name: METHODS[name] for name in ("DEFLECT", "LoRA r=16", "BitFit", "full")}
            models = {k: trainee(size, method, batch, "cuda", task, **s) for k, (method, s) in chosen.items()}
            seconds[task] = statistics.mean(interleaved({k: one.step for k, one in models.items()}, rounds).values())
        steps = [
            sheet.splits["train"] / batch * EPOCHS[sheet.task] * seconds[sheet.task]
            for sheet in (DATASETS[name] for name in PAPER_DATASETS)
        ]
        hours = sum(steps) * SEEDS * PAPER_METHODS / 3600
        milliseconds = [f"{1e3 * seconds[task]:.1f}" for task in EPOCHS]
        rows.append([GFMS[size][1], *milliseconds, f"{hours:.0f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--sizes", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, default=8 if device == "cuda" else 2)
    parser.add_argument("--rounds", type=int, default=30 if device == "cuda" else 3)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/steps.md"))
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    facts = device_facts(torch.device(device))
    place = facts["name"] if device == "cuda" else f"{facts['name']}, {facts['threads']} threads"
    precision = "bf16" if device == "cuda" else "float32"
    header = ["GFM", "method", "step ms", "step / LoRA peft", "step / full", "in operations"]
    header += ["forward / frozen", "in operations", "peak MB", "peak / LoRA peft"]
    header += ["share of peak"] * (device == "cuda")
    rows = [row for size in args.sizes for row in measure(size, args.batch, args.rounds, device)]
    text = f"# Cost of a training step\n\n{place}, torch {torch.__version__}, {precision}, {PIXELS} x {PIXELS} px, "
    text += f"{len(BANDS)} bands, batch {args.batch}, median of {args.rounds} interleaved rounds.\n\n"
    text += pipe_table(header, rows, "---:")
    if device == "cuda":
        hours = projected_hours([size for size in args.sizes if size in GFMS], args.batch, args.rounds)
        text += f"\nTraining of the paper's grid on this GPU ({PAPER_METHODS} methods, {SEEDS} seeds, five datasets), "
        text += "without data loading and evaluation:\n\n"
        text += pipe_table(["GFM", "classification, step ms", "segmentation, step ms", "hours"], hours, "---:")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
