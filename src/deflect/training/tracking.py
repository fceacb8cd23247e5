"""What a run shows while it trains: its epochs in the terminal or log, and a copy of its record in Weights & Biases.

W&B is off by default, imported late, and never makes a run fail.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from deflect.composite import composite
from deflect.data.store import Split
from deflect.errors import DeflectError
from deflect.progress import bar
from deflect.settings import WANDB_MODES
from deflect.training.outcomes import sample_rows
from deflect.training.spec import RunSpec


class Progress:
    """The epochs of a run: a bar in a terminal, a few lines in a log; nothing unless ``show``."""

    def __init__(self, title: str, epochs: int, show: bool = True) -> None:
        self.title, self.epochs, self.show = title, epochs, show
        self.bar = bar(title, epochs, unit="epochs") if show and sys.stderr.isatty() else None

    def epoch(self, row: Mapping[str, float]) -> None:
        """Show a row of the history."""
        number = int(row["epoch"])
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{row['train_loss']:.3f}", val=f"{row['val_score']:.3f}")
            self.bar.update()
        # the first and the last epoch, and three between them
        elif self.show and (number == 1 or number * 4 // self.epochs > (number - 1) * 4 // self.epochs):
            text = f"{self.title}: epoch {number}/{self.epochs} train loss {row['train_loss']:.4f}"
            if math.isfinite(row["val_loss"]):  # NaN in an epoch without validation
                text += f" val loss {row['val_loss']:.4f} val score {row['val_score']:.4f}"
            print(f"{text} ({row['seconds']:.1f} s)", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def wandb_mode(settings: Mapping[str, Any]) -> str:
    """WANDB_MODE if it is set, else ``settings["mode"]``, else disabled.

    Raises:
        DeflectError: there is no such mode.
    """
    mode = os.environ.get("WANDB_MODE") or settings.get("mode") or "disabled"
    if mode not in WANDB_MODES:
        raise DeflectError(f"wandb.mode (or WANDB_MODE): expected {', '.join(WANDB_MODES)}, found {mode!r}")
    return str(mode)


class Tracker:
    """One W&B run, or nothing. The first error is printed and ends the copy, not the training."""

    def __init__(self, spec: RunSpec, fingerprint: str, config: Mapping[str, Any]) -> None:
        self.run: Any = None
        mode: Any = wandb_mode(spec.wandb)
        if mode != "disabled":
            self._safely(lambda: self._open(mode, spec, fingerprint, config))

    def _open(self, mode: Any, spec: RunSpec, fingerprint: str, config: Mapping[str, Any]) -> None:
        import wandb

        dataset, gfm, method, seed = spec.slug.split("/")
        init = partial(
            wandb.init,
            reinit="finish_previous",  # one process trains many runs, and one that failed may still be open
            project=spec.wandb.get("project") or "deflect",
            entity=spec.wandb.get("entity"),
            name=spec.slug,
            group=f"{dataset}/{gfm}/{method}",
            tags=[dataset, gfm, method, seed],
            id=hashlib.sha256(fingerprint.encode()).hexdigest()[:16],
            resume="allow" if mode == "online" else None,
            config=dict(config),
            settings=wandb.Settings(init_timeout=30),
        )
        try:
            self.run = init(mode=mode)
        except wandb.Error as error:
            if mode != "online":
                raise
            reason = str(error).splitlines()[0]
            print(f"wandb: not online ({reason}); kept offline, to send with `wandb sync`", file=sys.stderr, flush=True)
            os.environ["WANDB_MODE"] = "offline"  # the next runs of this process need not wait for a server again
            self.run = init(mode="offline", resume=None)

    def _safely(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            print(f"wandb: {type(error).__name__}: {error}; the run goes on without it", file=sys.stderr, flush=True)
            self.run = None

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log a row of the history."""
        if self.run is not None:
            self._safely(lambda: self.run.log(dict(row), step=int(row["epoch"])))

    def finish(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], test: Split) -> None:
        """Log the record's numbers, the confusion matrix and, for a segmentation, sample maps; close the run."""
        if self.run is not None:
            self._safely(lambda: self._finish(record, arrays, test))

    def _finish(self, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray], test: Split) -> None:
        import wandb

        metrics, classes = dict(record["metrics"]["test"]), record["classes"]
        by_class = {key: metrics.pop(key, {}) for key in ("IoU", "AP", "F1")}
        numbers = {f"test/{key}/{name}": value for key, found in by_class.items() for name, value in found.items()}
        numbers |= {f"test/{name}": value for name, value in metrics.items()}
        self.run.summary.update(numbers | {"best_epoch": record["best_epoch"], **record["parameters"]})
        if record["confusion"]:
            rows = [[name, *row] for name, row in zip(classes, record["confusion"], strict=True)]
            self.run.log({"confusion": wandb.Table(columns=["truth", *classes], data=rows)})
        if "confusions" in arrays:
            self.run.log({"samples": sample_maps(arrays, classes, test)})
        self.run.finish()


def sample_maps(arrays: Mapping[str, np.ndarray], classes: list[str], test: Split) -> list[Any]:
    """The sample images in RGB with their predicted and true class maps, as ``wandb.Image``."""
    import wandb

    images = test.batch(sample_rows(len(test)))[0].numpy()
    names = dict(enumerate([*classes, "no label"]))
    samples = zip(*(arrays[f"sample_{key}"] for key in ("ids", "predictions", "labels")), strict=True)
    shown = []
    for image, (name, predicted, truth) in zip(images, samples, strict=True):
        maps = {"prediction": predicted, "label": np.where(truth < 0, len(classes), truth)}
        masks = {key: {"mask_data": value.astype(np.uint8), "class_labels": names} for key, value in maps.items()}
        rgb = (255 * composite(image, test.card.bands, ("R", "G", "B"), joint=True)).astype(np.uint8)
        shown.append(wandb.Image(rgb, masks=masks, caption=str(name)))
    return shown
